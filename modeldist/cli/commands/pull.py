"""`modeldist pull`"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click
import msgspec

from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.cli import options, units
from modeldist.cli.boundary import Command, fail
from modeldist.cli.node import Node
from modeldist.cli.selecting import selecting
from modeldist.cli.stopping import Stopping, stopping
from modeldist.cli.terminal import attended, clean, put, put_json, say
from modeldist.cli.views import View, summary, view
from modeldist.errors import AgentError, Cancelled, ModeldistError

if TYPE_CHECKING:
    from modeldist.agent.local_client import LocalAgent


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@selecting
@click.option("--offline", is_flag=True, help="Only what is here; ask nobody.")
@options.as_json
@options.quiet
@options.verbose
@options.node_options("registry", "plain_http", "hf_endpoint", "policy", "store", "hub", "socket", "agent")
def pull(reference: str, offline: bool, as_json: bool, quiet: bool, verbose: bool, here: Node) -> None:
    """Put a model on this machine and print its directory.

    REF is org/model:tag, registry/org/model@sha256:…, hf://org/model@revision, modelscope://org/model@revision,
    https://…, file://… or oci-layout:….

    With --only, --exclude, --kind, --tensor, --rank or --weights only that part of it, in a directory of its own: `ls`,
    `verify` and `rm` call it REF#only=…; a later pull of more fetches what is missing.

    Only the path goes to stdout. ^C stops the pull, also where the agent does it, and keeps what has arrived: pull
    again to resume.

    \b
    Example:
      vllm serve "$(modeldist pull org/model:tag)"
      modeldist pull org/model:tag --only '*.json' --only '*.model'
    """
    with stopping() as stop:
        found = here.running_agent()
        if found is not None:
            with view(quiet=quiet) as watching:
                stop.before_leaving = watching.close
                done = by_agent(found, reference, offline=offline, view=watching)
        else:
            done = by_itself(here, reference, offline=offline, quiet=quiet, stop=stop)
    if done.stale and not quiet:
        say(f"modeldist: {clean(done.stale)}")
    finish(done, as_json=as_json, talk=not quiet and (verbose or attended()))


def by_itself(here: Node, reference: str, *, offline: bool, quiet: bool, stop: Stopping) -> PullSnapshot:
    """Without an agent: from the store when it is there, else by an engine in this process."""
    from modeldist.cli.already_here import already_here

    if done := already_here(here, reference, offline=offline):
        return done
    from modeldist.cli.embedded import pull_embedded

    with view(quiet=quiet) as watching:
        stop.before_leaving = watching.close
        return pull_embedded(here, reference, offline=offline, view=watching, stopping=stop)


def by_agent(agent: LocalAgent, reference: str, *, offline: bool, view: View) -> PullSnapshot:
    """By the agent of this machine; its last word. Stopping here stops the agent's pull."""
    now = agent.start_pull(reference, offline=offline)
    try:
        for now in agent.events(now.pull):  # noqa: B020 - each is the same pull, later
            view.update(now)
    except KeyboardInterrupt:
        with suppress(AgentError):
            agent.cancel(now.pull)
            *_, now = agent.events(now.pull)
        return now if now.state in FINAL else msgspec.structs.replace(now, state="cancelled")
    return now


def stopped(now: PullSnapshot) -> Cancelled:
    """What ^C says."""
    kept = f"{units.size(now.kept)} of {units.size(now.size)} are kept; pull again to resume." if now.size else ""
    return Cancelled(f"The pull of {now.reference} was stopped.", remedy=kept or "Pull again to start over.")


def _error(now: PullSnapshot) -> ModeldistError:
    if now.error:
        return now.error.as_error()
    return AgentError(
        f"The agent stopped in mid-pull of {now.reference}.", remedy="Its log says why; pull again to resume."
    )


def finish(now: PullSnapshot, *, as_json: bool, talk: bool) -> None:
    """Print the outcome: the path on stdout, or the error, which also decides the exit code."""
    if talk:
        for note in (*now.warnings, *now.notes):
            say(f"modeldist: {clean(note)}")
    if now.state != "done":
        error = stopped(now) if now.state == "cancelled" else _error(now)
        if as_json:
            put_json(msgspec.structs.replace(now, error=error.info()))
        fail(error, as_json=False)
    if talk:
        say(summary(now))
    if as_json:
        put_json(now)
    else:
        put(now.path)
