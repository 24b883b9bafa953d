"""A pull from beginning to end: by the agent of this machine where one runs, else by an engine in this process."""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from modeldist.agent.progress import FINAL, PATIENCE_WHEN_AWAY, PullSnapshot
from modeldist.agent.this_node import Node
from modeldist.cli import units
from modeldist.cli.stopping import Stopping, stopping
from modeldist.cli.terminal import clean, say
from modeldist.cli.traced import traced
from modeldist.cli.views import View, view
from modeldist.errors import AgentError, Cancelled, ModeldistError, NotFound

if TYPE_CHECKING:
    from modeldist.agent.following import Followed
    from modeldist.agent.local_client import LocalAgent


def pulled(
    reference: str, here: Node, *, offline: bool = False, quiet: bool, reconnect: float = PATIENCE_WHEN_AWAY
) -> PullSnapshot:
    """How it ended, shown as it went; ^C keeps what has arrived. An agent that goes away in mid-pull is waited for,
    `reconnect` seconds. That it is, and what came from a copy whose origin could not be asked, is said. Raises
    InvalidReference, AgentError, StorageError."""
    with traced("pull", reference) as told, stopping() as stop:
        found = here.running_agent()
        if found is not None:
            from modeldist.agent.following import Followed

            with view(quiet=quiet) as watching:
                stop.before_leaving = watching.close
                away = _quietly if quiet else _say_away
                now = found.start_pull(reference, offline=offline)
                done = _by_agent(found, Followed(found, now, offline=offline, patience=reconnect, away=away), watching)
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


def _by_agent(agent: LocalAgent, following: Followed, view: View) -> PullSnapshot:
    """By the agent of this machine; its last word. Stopping here stops the agent's pull."""
    try:
        for each in following:
            view.update(each)
    except KeyboardInterrupt:
        now = following.now
        try:
            with suppress(NotFound):  # it has come back, and knows of no pull
                now = agent.cancel(now.pull)
        except AgentError:  # it is away; one that updates itself has written down what it goes on with
            ended = now.state in FINAL
            return now if ended else msgspec.structs.replace(now, error=_not_told(now, agent).info())
        with suppress(AgentError, NotFound):
            *_, now = (now, *agent.events(now.pull))
        return now if now.state in FINAL else msgspec.structs.replace(now, state="cancelled")
    return following.now


def _say_away(seconds: float) -> None:
    say(f"modeldist: The agent went away in mid-pull; waiting up to {units.duration(seconds)} for it to come back.")


def _quietly(seconds: float) -> None:
    """As --quiet wants it."""


def _stopped(now: PullSnapshot) -> Cancelled:
    """What ^C says."""
    return Cancelled(f"The pull of {now.reference} was stopped.", remedy=_kept(now))


def _not_told(now: PullSnapshot, agent: LocalAgent) -> Cancelled:
    """What it says where the agent could not be told."""
    stop = f"curl -X DELETE --unix-socket {shlex.quote(str(agent.path))} http://agent/v1/pulls/{now.pull}"
    return Cancelled(
        f"The pull of {now.reference} is no longer waited for. Its agent is away and could not be told to stop it: it "
        "may go on with it when it is back.",
        remedy=f"`{stop}` stops it then. {_kept(now)}",
    )


def _kept(now: PullSnapshot) -> str:
    if not now.size:
        return "Pull again to start over."
    return f"{units.size(now.kept)} of {units.size(now.size)} are kept; pull again to resume."


def error_of(now: PullSnapshot) -> ModeldistError:
    """Why a pull that is not done has ended."""
    if now.state == "cancelled":
        return _stopped(now)
    if now.error:
        return now.error.as_error()
    return AgentError(
        f"The agent stopped in mid-pull of {now.reference}.", remedy="Its log says why; pull again to resume."
    )
