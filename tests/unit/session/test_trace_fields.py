"""Traces go through sessions with peers of the version before and after: who does not know the field is not told it
unless there is something to tell, and passes over it where there is."""

from __future__ import annotations

import msgspec
import pytest

from modeldist.scheduler.messages import JoinTasks, Priority, TaskJoin
from modeldist.session import messages
from modeldist.session.messages import Resolve, StartPull, decode_from_agent, decode_from_control, encode

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
DIGEST = "sha256:" + "0" * 64


class OldResolve(messages.Message, frozen=True, tag="resolve"):
    request: int
    reference: str
    known: str | None = None
    priority: Priority = Priority.PULL


class OldStartPull(messages.Message, frozen=True, tag="start_pull"):
    pull: str
    reference: str
    priority: Priority = Priority.PREFETCH


class OldTaskJoin(msgspec.Struct, frozen=True, omit_defaults=True):
    task: str
    size: int
    origin: str


class OldJoinTasks(messages.Message, frozen=True, tag="join"):
    tasks: tuple[OldTaskJoin, ...]
    priority: Priority = Priority.PULL


OLD = {
    Resolve(1, "org/m", trace=TRACE): OldResolve(1, "org/m"),
    StartPull("p", "org/m", trace=TRACE): OldStartPull("p", "org/m"),
    JoinTasks((TaskJoin(DIGEST, 5, "o", trace=TRACE),)): OldJoinTasks((OldTaskJoin(DIGEST, 5, "o"),)),
}


@pytest.mark.parametrize(("new", "old"), OLD.items(), ids=lambda each: type(each).__name__)
def test_an_older_peer_reads_what_is_traced(new: messages.Message, old: messages.Message) -> None:
    assert msgspec.msgpack.decode(encode(new), type=type(old)) == old  # type: ignore[arg-type]


@pytest.mark.parametrize(("new", "old"), OLD.items(), ids=lambda each: type(each).__name__)
def test_what_an_older_peer_says_is_not_traced(new: messages.Message, old: messages.Message) -> None:
    decode = decode_from_control if isinstance(new, StartPull) else decode_from_agent
    read = decode(msgspec.msgpack.encode(old))
    assert type(read) is type(new)
    assert TRACE not in repr(read)
    assert encode(read) == msgspec.msgpack.encode(old), "and without a trace nothing more is said"
