"""How a pull is followed while its agent goes away, comes back, and answers what it should not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from modeldist.agent.following import Followed
from modeldist.agent.local_client import AgentAway, AgentForbidden, LocalAgent
from modeldist.agent.progress import PullSnapshot, State
from modeldist.errors import AgentError

_HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
_CUT = b'HTTP/1.1 503 Busy\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{"co'
_NEWER = b'{"pull":"p","reference":"org/model","state":"checking","seconds":1.0}\n'


def _snapshot(state: State = "pulling", done: int = 50) -> PullSnapshot:
    return PullSnapshot(pull="p", reference="org/model", state=state, seconds=1.0, size=100, origin=done)


def _told(*snapshots: PullSnapshot) -> bytes:
    return _HEAD + b"".join(msgspec.json.encode(each) + b"\n" for each in snapshots)


class Clock:
    """Time passes where somebody waits, or says that it does."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


Answering = Callable[[Callable[[], bytes]], LocalAgent]


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Answering]:
    """Makes an agent whose every answer, then the end of the connection, is what a function returns."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        threads: list[threading.Thread] = []

        def serve(answer: Callable[[], bytes]) -> None:
            while True:
                with closing(listener.accept()[0]) as asked:
                    if not asked.recv(65536):
                        return
                    asked.sendall(answer())

        def make(answer: Callable[[], bytes]) -> LocalAgent:
            threads.append(threading.Thread(target=serve, args=(answer,)))
            threads[-1].start()
            return LocalAgent(path)

        yield make
        for thread in threads:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
                last.connect(str(path))
            thread.join()


def test_an_hour_with_the_agent_and_nothing_new_is_no_absence(answering: Answering) -> None:
    clock, said = Clock(), list[float]()

    def answers() -> Iterator[bytes]:
        yield _told(_snapshot())
        yield _told(_snapshot("materialising"))
        yield _told(_snapshot("done"))

    told = answers()
    following = Followed(
        answering(lambda: next(told)), _snapshot(), patience=60.0, away=said.append, clock=clock, pause=clock.pass_
    )
    for each in following:
        clock.pass_(3600.0 if each.state == "materialising" else 0.0)
    assert following.now.state == "done"
    assert said == [60.0, 59.75]


def test_an_agent_that_goes_away_at_once_each_time_is_not_waited_for_for_ever(answering: Answering) -> None:
    clock, said = Clock(), list[float]()
    agent = answering(lambda: _told(_snapshot()))
    list(Followed(agent, _snapshot(), patience=5.0, away=said.append, clock=clock, pause=clock.pass_))
    assert clock.now == 5.0
    assert said == [5.0]


def test_a_socket_that_may_not_be_opened_is_what_ends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")  # the kernel never does to root, who may run this

    monkeypatch.setattr("modeldist.agent.local_client.check_listener", refuse)
    clock = Clock()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen(100)
        agent = LocalAgent(tmp_path / "socket")
        with pytest.raises(AgentForbidden, match=r"may not open its socket .*Permission denied") as told:
            list(Followed(agent, _snapshot(), patience=5.0, clock=clock, pause=clock.pass_))
    assert clock.now == 5.0
    assert "agent's user" in told.value.remedy


def test_an_answer_that_is_cut_off_is_an_agent_that_went_away(answering: Answering) -> None:
    answers = iter([_CUT, _CUT, _told(_snapshot("done"))])
    agent = answering(lambda: next(answers))
    with pytest.raises(AgentAway, match=f"{agent.path} stopped answering"):
        agent.status()
    clock = Clock()
    *_, last = Followed(agent, _snapshot(), clock=clock, pause=clock.pass_)
    assert last.state == "done"


def test_a_state_of_a_newer_version_is_said_to_be_one(answering: Answering) -> None:
    agent = answering(lambda: _HEAD + _NEWER)
    for ask in (lambda: list(Followed(agent, _snapshot())), lambda: agent.cancel("p")):
        with pytest.raises(AgentError, match=r"cannot be understood .*checking") as told:
            ask()
        assert str(agent.path) in told.value.message
        assert "another version" in told.value.remedy
