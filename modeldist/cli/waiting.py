"""Waiting for what a pull needs and what is not there yet: when a node starts, everything on it starts at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from modeldist.agent.progress import PullSnapshot
from modeldist.cli import units
from modeldist.cli.pulling import error_of
from modeldist.cli.stopping import stopping
from modeldist.cli.terminal import clean, say
from modeldist.errors import (
    AgentError,
    ControlPlaneUnreachable,
    ModeldistError,
    OriginUnavailable,
    Overloaded,
    RateLimited,
)

LIMIT = 600.0  # seconds, unless told otherwise
FIRST, LONGEST = 0.5, 5.0  # seconds between two tries, doubled from the one to the other

PASSING = (AgentError, ControlPlaneUnreachable, OriginUnavailable, Overloaded, RateLimited)
"""What may be over soon. Anything else would be the same in ten minutes: a name that does not exist, a wrong token."""


def waited(
    attempt: Callable[[], PullSnapshot],
    limit: float,
    *,
    quiet: bool,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> PullSnapshot:
    """How the first attempt ended that did not fail for want of an agent, a control plane or an origin, or the last one
    within `limit` seconds. Whom it waits for is said. Raises what the last attempt raised."""
    deadline, delay, told = clock() + limit, FIRST, ""
    with stopping():  # also between attempts, and as a container's first process, which no signal stops by itself
        while True:
            ended, problem = _tried(attempt)
            if ended is not None and problem is None:
                return ended
            left = deadline - clock()
            if left <= 0 or not isinstance(problem, PASSING):
                return _given_up(ended, problem, limit)
            if not quiet and str(problem) != told:
                told = str(problem)
                say(f"modeldist: Waiting, {units.duration(left)} at most: {clean(told)}")
            pause(min(left, max(delay, problem.retry_after or 0.0)))
            delay = min(2 * delay, LONGEST)


def _tried(attempt: Callable[[], PullSnapshot]) -> tuple[PullSnapshot | None, ModeldistError | None]:
    try:
        ended = attempt()
    except PASSING as error:
        return None, error
    return ended, None if ended.state == "done" else error_of(ended)


def _given_up(ended: PullSnapshot | None, problem: ModeldistError | None, limit: float) -> PullSnapshot:
    assert problem is not None
    if isinstance(problem, PASSING):
        problem = problem.about(f"After {units.duration(limit)} of waiting")
    if ended is None:
        raise problem
    return ended if ended.state == "cancelled" else msgspec.structs.replace(ended, error=problem.info())
