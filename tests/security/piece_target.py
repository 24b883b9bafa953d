"""A node's piece server, and what may be said to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import frames
from modeldist.transfer.frame_reader import Event
from tests.unit.transfer.raw_child import RawChild

CHILD = "c" * 32


@dataclass(frozen=True)
class At:
    """Where a piece server is."""

    address: str


@dataclass(frozen=True)
class Target:
    """The piece server of a node that holds the shard, of so many bytes."""

    address: str
    shard: Digest
    size: int
    capability: bytes
    another: bytes  # for another shard

    @contextmanager
    def child(self, name: str = CHILD) -> Iterator[RawChild]:
        child = RawChild(At(self.address))  # type: ignore[arg-type]  # of a server it needs the address alone
        try:
            child.say(frames.MAGIC, frames.Hello(frames.VERSION, name))
            assert isinstance(child.next(), frames.HelloOk)
            yield child
        finally:
            child.sock.close()


def heard(child: RawChild) -> list[Event]:
    """All that comes until the answer to a ping, or the end."""
    child.say(frames.Ping(99))
    events: list[Event] = []
    with suppress(AssertionError, OSError):
        while (event := child.next()) != frames.Pong(99):
            events.append(event)
            if isinstance(event, frames.Goodbye):
                break
    return events


def one_of_each(target: Target) -> dict[type[frames.Control], frames.Control]:
    """Every kind of frame, as somebody would send it who wants bytes of the shard."""
    lane = frames.LaneEnd(1, bytes(16), 0, 0, 0, 0)
    return {
        frames.Hello: frames.Hello(frames.VERSION, CHILD),
        frames.HelloOk: frames.HelloOk(frames.VERSION, CHILD),
        frames.HelloRefused: frames.HelloRefused("no"),
        frames.Subscribe: frames.Subscribe(1, target.shard, b"none"),
        frames.SubscribeRefused: frames.SubscribeRefused(1, "no"),
        frames.Unsubscribe: frames.Unsubscribe(1),
        frames.Have: frames.Have.of(1, PieceSet.of([0])),
        frames.Request: frames.Request(1, 1, 0, target.size),
        frames.Busy: frames.Busy(1, 1.0),
        frames.Refused: frames.Refused(1, "no"),
        frames.Ping: frames.Ping(1),
        frames.Pong: frames.Pong(1),
        frames.Goodbye: frames.Goodbye("done"),
        frames.LanesWanted: frames.LanesWanted([lane]),
        frames.LanesOpened: frames.LanesOpened([]),
        frames.Exposed: frames.Exposed(1, 0, 0, 1, 1),
        frames.Landed: frames.Landed(1),
        frames.LaneClosed: frames.LaneClosed(0, "no"),
    }
