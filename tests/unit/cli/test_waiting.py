"""How long `pull --wait` tries again, and at what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modeldist.agent.progress import PullSnapshot
from modeldist.cli.waiting import FIRST, LONGEST, waited
from modeldist.errors import (
    AgentError,
    ControlPlaneUnreachable,
    ModeldistError,
    NotFound,
    OriginUnavailable,
    RateLimited,
)

DONE = PullSnapshot(pull="1", reference="org/model", state="done", seconds=1.0, path="/snapshot")


def failed(error: ModeldistError) -> PullSnapshot:
    return PullSnapshot(pull="1", reference="org/model", state="failed", seconds=1.0, error=error.info())


class Waiter:
    """A clock that only waiting moves, and attempts that end as told, the last one for ever."""

    def __init__(self, *ends: PullSnapshot | ModeldistError) -> None:
        self.ends = list(ends)
        self.now = 0.0
        self.pauses: list[float] = []

    def attempt(self) -> PullSnapshot:
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, ModeldistError):
            raise end
        return end

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def run(self, limit: float = 60.0, *, quiet: bool = False) -> PullSnapshot:
        clock: Callable[[], float] = lambda: self.now  # noqa: E731
        return waited(self.attempt, limit, quiet=quiet, clock=clock, pause=self.pause)


def test_what_is_done_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    waiter = Waiter(DONE)
    assert waiter.run() == DONE
    assert (waiter.pauses, capsys.readouterr().err) == ([], "")


def test_whom_it_waits_for_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    agent, control = AgentError("No agent."), failed(ControlPlaneUnreachable("No control plane."))
    waiter = Waiter(agent, agent, control, control, DONE)
    assert waiter.run() == DONE
    assert waiter.pauses == [FIRST, 1.0, 2.0, 4.0]
    assert capsys.readouterr().err.splitlines() == [
        "modeldist: Waiting, 1 min 0 s at most: No agent.",
        "modeldist: Waiting, 58 s at most: No control plane.",
    ]
    Waiter(agent, DONE).run(quiet=True)
    assert capsys.readouterr().err == ""


def test_it_gives_up_in_time_and_says_what_was_missing() -> None:
    waiter = Waiter(AgentError("No agent.", remedy="Start it."))
    with pytest.raises(AgentError, match=r"^After 20 s of waiting: No agent. Start it\.$"):
        waiter.run(20.0)
    assert waiter.now == 20.0
    assert max(waiter.pauses) == LONGEST
    ended = Waiter(failed(OriginUnavailable("No origin."))).run(20.0)
    assert ended.state == "failed"
    assert ended.error is not None
    assert (ended.error.code, ended.error.message) == ("origin_unavailable", "After 20 s of waiting: No origin.")


def test_an_origin_that_says_when_is_taken_at_its_word() -> None:
    waiter = Waiter(failed(RateLimited("Slower.", retry_after=17.0)), DONE)
    assert waiter.run() == DONE
    assert waiter.pauses == [17.0]


def test_what_waiting_does_not_change_fails_at_once() -> None:
    waiter = Waiter(failed(NotFound("No such model.")))
    assert waiter.run() == failed(NotFound("No such model."))
    stopped = PullSnapshot(pull="1", reference="org/model", state="cancelled", seconds=1.0)
    waiting = Waiter(stopped)
    assert waiting.run() == stopped
    assert waiter.pauses == waiting.pauses == []
