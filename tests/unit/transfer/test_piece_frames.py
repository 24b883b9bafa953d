"""The piece protocol as pure code: what is written is read back, however it arrives, and nonsense ends cleanly."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import frames
from modeldist.transfer.frame_reader import BodyData, Event, FrameReader
from modeldist.transfer.frames import ProtocolError

_number = st.integers(0, (1 << 63) - 1)
_subscription = st.integers(0, (1 << 32) - 1)
_text = st.text(max_size=100)
_node = st.text(min_size=1, max_size=100)
_shard = st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}")
_version = st.integers(0, 65535)

_lane_end = st.builds(frames.LaneEnd, _number, st.binary(min_size=16, max_size=16), _number, _number, _number, _number)

_control = st.one_of(
    st.builds(frames.Hello, _version, _node),
    st.builds(frames.HelloOk, _version, _node),
    st.builds(frames.HelloRefused, _text),
    st.builds(frames.Subscribe, _subscription, _shard, st.binary(max_size=300)),
    st.builds(frames.SubscribeRefused, _subscription, _text),
    st.builds(frames.Unsubscribe, _subscription),
    st.builds(frames.Have, _subscription, st.integers(0, frames.MAX_PIECES), st.binary(max_size=300)),
    st.builds(frames.Request, _number, _subscription, _number, st.integers(1, frames.MAX_REQUEST)),
    st.builds(frames.Busy, _number, st.integers(0, 60_000)),
    st.builds(frames.Refused, _number, _text),
    st.builds(frames.Ping, _number),
    st.builds(frames.Pong, _number),
    st.builds(frames.Goodbye, _text),
    st.builds(frames.Request, _number, _subscription, _number, st.integers(1, 99), st.integers(-1, 7)),
    st.builds(frames.LanesWanted, st.lists(_lane_end, min_size=1, max_size=frames.MAX_LANES)),
    st.builds(frames.LanesOpened, st.lists(st.none() | _lane_end, max_size=frames.MAX_LANES), _text),
    st.builds(frames.Exposed, _number, st.integers(0, 99), st.integers(0, (1 << 64) - 1), st.integers(1, 99), _number),
    st.builds(frames.Landed, _number),
    st.builds(frames.LaneClosed, st.integers(0, 7), _text),
)
_block = st.tuples(_number, st.binary(min_size=1, max_size=500), st.booleans())


def _wire(item: object) -> bytes:
    if isinstance(item, tuple):
        request, data, last = item
        return frames.encode_body_header(request, len(data), last=last) + data
    return frames.encode(item)  # type: ignore[arg-type]


def _joined(events: list[Event]) -> list[object]:
    """Events with the data of each block joined, in the form of `_wire`'s items."""
    found: list[object] = []
    for event in events:
        if isinstance(event, frames.Body):
            found.append([event.request, b"", event.last])
        elif isinstance(event, BodyData):
            found[-1][1] += event.data  # type: ignore[index]
        else:
            found.append(event)
    return [tuple(item) if isinstance(item, list) else item for item in found]


@given(st.lists(st.one_of(_control, _block), max_size=8), st.data())
def test_whatever_is_written_is_read_back_however_it_is_split(items: list[object], data: st.DataObject) -> None:
    wire = frames.MAGIC + b"".join(_wire(item) for item in items)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wire)), max_size=20)) | {0, len(wire)})
    reader = FrameReader()
    events = [event for start, end in pairwise(cuts) for event in reader.receive(wire[start:end])]
    assert _joined(events) == items


@given(st.lists(st.one_of(_control, _block), max_size=8))
def test_reading_what_is_wanted_never_reads_into_a_block(items: list[object]) -> None:
    wire = frames.MAGIC + b"".join(_wire(item) for item in items)
    reader = FrameReader()
    found: list[object] = []
    while wire:
        wanted, wire = wire[: reader.wants], wire[reader.wants :]
        for event in reader.receive(wanted):
            if isinstance(event, frames.Body):
                found.append((event.request, wire[: event.length], event.last))
                wire = wire[event.length :]
                reader.body_moved(event.length)
            else:
                found.append(event)
    assert found == items


@given(st.binary(max_size=400), st.booleans())
def test_garbage_is_a_protocol_error_or_nothing(garbage: bytes, greeted: bool) -> None:
    reader = FrameReader()
    try:
        events = reader.receive((frames.MAGIC if greeted else b"") + garbage)
    except ProtocolError:
        with pytest.raises(ProtocolError):
            reader.receive(b"more")
    else:
        assert all(isinstance(event, msgspec.Struct | BodyData) for event in events)
        assert reader.wants >= 1


@given(st.sampled_from(sorted(frames.CONTROL_TYPES)), st.binary(min_size=1, max_size=200))
def test_a_garbled_payload_is_a_protocol_error_or_a_frame(code: int, payload: bytes) -> None:
    reader = FrameReader()
    reader.receive(frames.MAGIC)
    try:
        events = reader.receive(frames.HEADER.pack(code, 0, 0, len(payload), 0) + payload)
    except ProtocolError:
        return
    assert [type(event) for event in events] == [frames.CONTROL_TYPES[code][0]]


@pytest.mark.parametrize("code", [0, 14, 15, 22, 255])
def test_unknown_types(code: int) -> None:
    with pytest.raises(ProtocolError, match=f"no frame of type {code}"):
        FrameReader().receive(frames.MAGIC + frames.HEADER.pack(code, 0, 0, 1, 0))


@pytest.mark.parametrize(
    "header",
    [
        (16, 0, 0, 0, 1),
        (16, 0, 0, frames.MAX_BLOCK + 1, 1),
        (16, 2, 0, 1, 1),
        (16, 0, 1, 1, 1),
        (11, 0, 0, 0, 0),
        (11, 0, 0, 1 << 31, 0),
        (11, 1, 0, 4, 0),
        (11, 0, 1, 4, 0),
        (11, 0, 0, 4, 7),
        (4, 0, 0, 8193, 0),
    ],
)
def test_headers_beyond_the_limits_are_refused_before_anything_is_kept(header: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError):
        FrameReader().receive(frames.MAGIC + frames.HEADER.pack(*header))


def test_a_stranger_is_known_by_the_first_wrong_byte() -> None:
    reader = FrameReader()
    reader.receive(b"MDP")
    with pytest.raises(ProtocolError, match="does not speak"):
        reader.receive(b"X")


@pytest.mark.parametrize(
    "frame",
    [
        frames.Subscribe(1, "sha256:../../etc/passwd" + "0" * 64, b""),
        frames.Subscribe(1, "sha256:" + "0" * 64, b"x" * (frames.MAX_CAPABILITY + 1)),
        frames.Request(1, 1, 0, 0),
        frames.Request(1, 1, -1, 5),
        frames.Request(1, 1, 0, frames.MAX_REQUEST + 1),
        frames.Request(1, 1, 0, 1, frames.MAX_LANES),
        frames.LanesWanted([]),
        frames.LanesWanted([frames.LaneEnd(1, bytes(15), 0, 0, 1024, 1)]),
        frames.LanesWanted([frames.LaneEnd(1, bytes(16), 0, 0, 1024, 1)] * (frames.MAX_LANES + 1)),
        frames.Exposed(1, 0, 1 << 12, 0, 1),
        frames.LaneClosed(-1, ""),
        frames.Have(1, frames.MAX_PIECES + 1, b""),
        frames.Busy(1, 60_001),
        frames.Hello(1, ""),
        frames.Refused(1, "x" * 501),
    ],
)
def test_fields_beyond_the_limits(frame: frames.Control) -> None:
    with pytest.raises(ProtocolError, match=f"malformed {type(frame).__name__} frame"):
        FrameReader().receive(frames.MAGIC + frames.encode(frame))


def test_nesting_that_would_exhaust_the_stack() -> None:
    payload = b"\x93\x01\x00\xc4\x00" + b"\x91" * 200_000
    with pytest.raises(ProtocolError):
        FrameReader().receive(frames.MAGIC + frames.HEADER.pack(7, 0, 0, len(payload), 0) + payload)


def test_fields_that_a_newer_peer_appends_are_skipped() -> None:
    payload = msgspec.msgpack.encode([7, "something new"])
    wire = frames.MAGIC + frames.HEADER.pack(11, 0, 0, len(payload), 0) + payload
    assert FrameReader().receive(wire) == [frames.Ping(7)]


@given(st.sets(st.integers(0, frames.MAX_PIECES - 1), max_size=10))
def test_pieces_travel_as_they_are(indices: set[int]) -> None:
    pieces = PieceSet.of(indices)
    assert frames.Have.of(1, pieces).pieces == pieces


def test_news_of_one_late_piece_are_small() -> None:
    assert len(frames.encode(frames.Have.of(1, PieceSet.of([60_000])))) < 40


def test_moving_more_of_a_block_than_it_has() -> None:
    reader = FrameReader()
    reader.receive(frames.MAGIC + frames.encode_body_header(1, 10, last=True))
    reader.body_moved(4)
    assert reader.wants == 6
    with pytest.raises(ValueError, match="6 left"):
        reader.body_moved(7)


def test_reasons_are_cut_to_travel() -> None:
    assert frames.brief("short") == "short"
    assert len(frames.brief("long " * 200)) == 500
