"""Frames of the piece protocol, of parents and of children: read the same however they arrive, and written the same."""

from __future__ import annotations

from collections.abc import Iterator

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import frames
from modeldist.transfer.capability import CapabilityChecker, CapabilityIssuer
from modeldist.transfer.frame_reader import BodyData, Event, FrameReader
from tests.fuzz.msgpack import WORDS
from tests.fuzz.target import Target

SHARD = Digest("sha256:" + "ab" * 32)
CHILD = "c" * 32
ISSUER = CapabilityIssuer(bytes(range(32)), lambda: 1000.0)
CHECKER = CapabilityChecker(ISSUER.public_key, lambda: 1000.0)
END = frames.LaneEnd(1, bytes(16), 0, 4096, 5, 16)
OF_A_CHILD: tuple[frames.Control, ...] = (
    frames.Hello(frames.VERSION, CHILD),
    frames.Subscribe(1, SHARD, ISSUER.issue(SHARD, CHILD, 60.0)),
    frames.Request(1, 1, 0, 1000),
    frames.Request(2, 1, 1000, 64, 0),
    frames.Ping(7),
    frames.LanesWanted([END]),
    frames.Landed(2),
    frames.LaneClosed(0, "no"),
    frames.Unsubscribe(1),
    frames.Goodbye("done"),
)
OF_A_PARENT: tuple[frames.Control, ...] = (
    frames.HelloOk(frames.VERSION, "p" * 32, 1),
    frames.Have.of(1, PieceSet.of([0, 1, 9])),
    frames.SubscribeRefused(1, "no"),
    frames.Busy(1, 100),
    frames.Refused(1, "no"),
    frames.Pong(7),
    frames.LanesOpened([END, None], "one"),
    frames.Exposed(2, 0, 1 << 40, 64, 77),
    frames.HelloRefused("no"),
    frames.Goodbye("done"),
)
BODY = frames.encode_body_header(1, 64, last=True) + bytes(64)


def seeds() -> Iterator[bytes]:
    yield frames.MAGIC + b"".join(map(frames.encode, OF_A_CHILD))
    yield frames.MAGIC + b"".join(map(frames.encode, OF_A_PARENT)) + BODY
    for frame in (*OF_A_CHILD, *OF_A_PARENT):
        yield frames.MAGIC + frames.encode(frame)


def check(data: bytes) -> None:
    whole, refusal = _read(data, len(data) or 1)
    for step in (1, 7, 64):
        if len(data) <= step * 300:
            assert _read(data, step) == (whole, refusal)
    for event in whole:
        if isinstance(event, bytes | tuple):
            continue
        written = frames.encode(event)
        assert _read(frames.MAGIC + written, 1 << 20) == ([event], "")
        if isinstance(event, frames.Have):
            assert len(event.pieces) >= 0
        if isinstance(event, frames.Subscribe) and CHECKER(event.capability, CHILD, Digest(event.shard)):
            assert event.shard == SHARD


def _read(data: bytes, step: int) -> tuple[list[frames.Control | tuple[int, int, bool] | bytes], str]:
    """(frames, bodies in one however they were cut; why no more was read)."""
    reader = FrameReader()
    found: list[frames.Control | tuple[int, int, bool] | bytes] = []
    try:
        for at in range(0, len(data), step):
            for event in reader.receive(data[at : at + step]):
                _add(found, event)
                assert reader.wants >= 1
    except frames.ProtocolError as error:
        assert len(str(error)) < 500
        return [], str(error)
    return found, ""


def _add(found: list[frames.Control | tuple[int, int, bool] | bytes], event: Event) -> None:
    if isinstance(event, frames.Body):
        found.append((event.request, event.length, event.last))
    elif isinstance(event, BodyData):
        before = found.pop() if found and isinstance(found[-1], bytes) else b""
        assert isinstance(before, bytes)
        found.append(before + event.data)
    else:
        found.append(event)


HEADERS = tuple(frames.HEADER.pack(code, 0, 0, 8, 0) for code in (*frames.CONTROL_TYPES, frames.BODY_TYPE, 99))
TARGET = Target("piece_frames", check, seeds, (*WORDS, *HEADERS, frames.MAGIC, SHARD.encode()), longest=2048)
