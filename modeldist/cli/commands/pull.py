"""`modeldist pull`"""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec

from modeldist.agent.engine_environment import engine_environment, hub_of, overriding
from modeldist.agent.progress import PATIENCE_WHEN_AWAY, PullSnapshot
from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import fail
from modeldist.cli.keeping_for_program import keep_for_program
from modeldist.cli.pulling import error_of, pulled
from modeldist.cli.replacing import ReplacingCommand, become, check_runnable, with_directory
from modeldist.cli.selecting import selecting
from modeldist.cli.terminal import attended, clean, put, put_json, say
from modeldist.cli.units import parse_duration
from modeldist.cli.views import summary
from modeldist.errors import UsageError


@click.command(cls=ReplacingCommand)
@click.argument("reference", metavar="REF")
@selecting
@click.option("--offline", is_flag=True, help="Only what is here; ask nobody.")
@click.option("--wait", is_flag=True, help="Wait for an agent (of --agent), control plane or origin that is not there.")
@click.option("--wait-limit", metavar="TIME", help="Wait no longer than this: 90, 10m, 1h. [default: 10m]")
@click.option(
    "--reconnect",
    metavar="TIME",
    envvar="MODELDIST_RECONNECT",
    default=f"{PATIENCE_WHEN_AWAY:g}",
    help="Wait so long for an agent that goes away in mid-pull to come back; 0: not at all. "
    f"[env: MODELDIST_RECONNECT; {PATIENCE_WHEN_AWAY:g}]",
)
@options.as_json
@options.quiet
@options.verbose
@options.node_options("registry", "plain_http", "hf_endpoint", "policy", "store", "hub", "socket", "agent")
def pull(
    reference: str,
    offline: bool,
    wait: bool,
    wait_limit: str | None,
    reconnect: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    here: Node,
    command: tuple[str, ...],
) -> None:
    """Put a model on this machine and print its directory.

    REF is org/model:tag, registry/org/model@sha256:…, hf://org/model@revision, modelscope://org/model@revision,
    https://…, file://… or oci-layout:….

    With --only, --exclude, --kind, --tensor, --rank or --weights only that part of it, in a directory of its own: `ls`,
    `verify` and `rm` call it REF#only=…; a later pull of more fetches what is missing.

    Only the path goes to stdout. ^C stops the pull, also where the agent does it, and keeps what has arrived: pull
    again to resume. Where the agent is started again in mid-pull, the pull goes on with what has arrived.

    With --exec nothing is printed: once the model is here, CMD takes this process over, in the environment that
    `modeldist env` describes (after --offline with HF_HUB_OFFLINE). It is not started if the pull fails.

    \b
    Example:
      vllm serve "$(modeldist pull org/model:tag)"
      modeldist pull org/model:tag --only '*.json' --only '*.model'
      modeldist pull org/model:tag --wait --exec vllm serve {} --port 8000
    """
    if command:
        if as_json:
            raise UsageError("--json and --exec cannot be used together: standard output is the program's.")
        check_runnable(command)
    if wait_limit is not None and not wait:
        raise UsageError("--wait-limit says how long --wait waits, and there is no --wait.", remedy="Add --wait.")
    patience = parse_duration(reconnect)

    def attempt() -> PullSnapshot:
        return pulled(reference, here, offline=offline, quiet=quiet, reconnect=patience)

    if wait:
        from modeldist.cli.waiting import LIMIT, waited

        limit = LIMIT if wait_limit is None else parse_duration(wait_limit)
        done = waited(attempt, limit, quiet=quiet)
    else:
        done = attempt()
    talk = not quiet and (verbose or attended())
    if command and done.state == "done":
        tell(done, talk=talk)
        path = Path(done.path)
        variables = engine_environment(hub_of(path), path, offline=offline)
        if not quiet and (note := overriding(os.environ, variables)):
            say(f"modeldist: {clean(note)}")
        keep_for_program(here, done)
        become(with_directory(command, path), variables)
    finish(done, as_json=as_json, talk=talk)


def finish(now: PullSnapshot, *, as_json: bool, talk: bool) -> None:
    """Print the outcome: the path on stdout, or the error, which also decides the exit code."""
    tell(now, talk=talk)
    if now.state != "done":
        error = error_of(now)
        if as_json:
            put_json(msgspec.structs.replace(now, error=error.info()))
        fail(error, as_json=False)
    if as_json:
        put_json(now)
    else:
        put(now.path)


def tell(now: PullSnapshot, *, talk: bool) -> None:
    """What a person at the terminal wants to know of how it went."""
    if not talk:
        return
    for note in (*now.warnings, *now.notes):
        say(f"modeldist: {clean(note)}")
    if now.state == "done":
        say(summary(now))
