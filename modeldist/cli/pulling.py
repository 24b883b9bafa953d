"""A pull from beginning to end: by the agent of this machine where one runs, else by an engine in this process."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.agent.this_node import Node
from modeldist.cli import units
from modeldist.cli.stopping import Stopping, stopping
from modeldist.cli.terminal import clean, say
from modeldist.cli.traced import traced
from modeldist.cli.views import View, view
from modeldist.errors import AgentError, Cancelled, ModeldistError

if TYPE_CHECKING:
    from modeldist.agent.local_client import LocalAgent


def pulled(reference: str, here: Node, *, offline: bool = False, quiet: bool) -> PullSnapshot:
    """How it ended, shown as it went; ^C keeps what has arrived. What came from a copy whose origin could not be asked
    is said. Raises InvalidReference, AgentError, StorageError."""
    with traced("pull", reference) as told, stopping() as stop:
        found = here.running_agent()
        if found is not None:
            with view(quiet=quiet) as watching:
                stop.before_leaving = watching.close
                done = _by_agent(found, reference, offline=offline, view=watching)
        else:
            done = _by_itself(here, reference, offline=offline, quiet=quiet, stop=stop)
        if done.error is not None:
            told.failed(done.error.code)
    if done.stale and not quiet:
        say(f"modeldist: {clean(done.stale)}")
    return done


def _by_itself(here: Node, reference: str, *, offline: bool, quiet: bool, stop: Stopping) -> PullSnapshot:
    """Without an agent: from the store when it is there, else by an engine in this process."""
    from modeldist.cli.already_here import already_here

    if done := already_here(here, reference, offline=offline):
        return done
    from modeldist.cli.embedded import pull_embedded

    with view(quiet=quiet) as watching:
        stop.before_leaving = watching.close
        return pull_embedded(here, reference, offline=offline, view=watching, stopping=stop)


def _by_agent(agent: LocalAgent, reference: str, *, offline: bool, view: View) -> PullSnapshot:
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


def _stopped(now: PullSnapshot) -> Cancelled:
    """What ^C says."""
    kept = f"{units.size(now.kept)} of {units.size(now.size)} are kept; pull again to resume." if now.size else ""
    return Cancelled(f"The pull of {now.reference} was stopped.", remedy=kept or "Pull again to start over.")


def error_of(now: PullSnapshot) -> ModeldistError:
    """Why a pull that is not done has ended."""
    if now.state == "cancelled":
        return _stopped(now)
    if now.error:
        return now.error.as_error()
    return AgentError(
        f"The agent stopped in mid-pull of {now.reference}.", remedy="Its log says why; pull again to resume."
    )
