"""The frames of the piece protocol and how they are written. Pure code; `frame_reader` reads them.

A connection opens with `MAGIC` in both directions. Then frames, each with one fixed header

    type u8 | flags u8 | reserved u16 | length u32 | request u64        (big endian, 16 bytes)

and `length` bytes of payload. Every frame but `Body` carries a msgpack array, the fields below in order (fields that a
newer peer appends are skipped), and has request 0. A `Body` frame is one block of a requested range, raw; the last
block of a range has flag `LAST`. The magic, the header, and the first fields of the three hello frames never change, so
that peers of different versions can still tell each other why they part.

    child  → parent    Hello, Subscribe, Unsubscribe, Request, Ping, Goodbye
    parent → child     HelloOk | HelloRefused, Have, SubscribeRefused, Body, Busy, Refused, Pong, Goodbye

Where both have RDMA, the same connection sets up lanes (`modeldist.transfer.verbs`) and says what may be read over
them:

    child  → parent    LanesWanted, Landed, LaneClosed
    parent → child     LanesOpened, Exposed, LaneClosed
"""

from __future__ import annotations

import struct
from typing import Annotated, Self

import msgspec
from msgspec import Meta

from modeldist.scheduler.pieces import MIB, PieceSet

MAGIC = b"MDPIECE\n"
VERSION = 1
HEADER = struct.Struct("!BBHIQ")
LAST = 1

MAX_BLOCK = 4 * MIB
MAX_PIECES = 1 << 21
MAX_REQUEST = 1 << 30
MAX_CAPABILITY = 4096
MAX_LANES = 8
LANES_VERSION = 1

SHARD_PATTERN = r"^[a-z0-9-]{1,16}:[0-9a-f]{40,64}\Z"

NodeId = Annotated[str, Meta(min_length=1, max_length=255)]
ShardDigest = Annotated[str, Meta(pattern=SHARD_PATTERN)]
Reason = Annotated[str, Meta(max_length=500)]
Number = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Subscription = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]


class ProtocolError(Exception):
    """What arrived is not the piece protocol, or breaks one of its limits. The connection is of no more use."""


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """The child's first frame: the protocol version it speaks and its node id."""

    version: Annotated[int, Meta(ge=0, le=65535)]
    node: NodeId


class HelloOk(msgspec.Struct, frozen=True, array_like=True):
    """The parent agrees; from here on the frames of `version` are spoken. `lanes`: the version of lanes it opens, 0
    when it has none."""

    version: Annotated[int, Meta(ge=0, le=65535)]
    node: NodeId
    lanes: Annotated[int, Meta(ge=0, le=65535)] = 0


class HelloRefused(msgspec.Struct, frozen=True, array_like=True):
    """The parent will not talk; it closes after this."""

    reason: Reason


class Subscribe(msgspec.Struct, frozen=True, array_like=True):
    """Show me what you hold of `shard`. The child numbers its subscriptions; a number is used once per connection."""

    subscription: Subscription
    shard: ShardDigest
    capability: Annotated[bytes, Meta(max_length=MAX_CAPABILITY)]


class SubscribeRefused(msgspec.Struct, frozen=True, array_like=True):
    subscription: Subscription
    reason: Reason


class Unsubscribe(msgspec.Struct, frozen=True, array_like=True):
    """No more `Have`; requests of this subscription that wait are refused."""

    subscription: Subscription


class Have(msgspec.Struct, frozen=True, array_like=True):
    """Pieces the parent holds beyond what it said before: bit i of `bitmap` (little endian) is piece `first` + i."""

    subscription: Subscription
    first: Annotated[int, Meta(ge=0, le=MAX_PIECES)]
    bitmap: Annotated[bytes, Meta(max_length=MAX_PIECES // 8)]

    @classmethod
    def of(cls, subscription: int, pieces: PieceSet) -> Self:
        """The shortest form of a set of pieces below `MAX_PIECES`."""
        lowest = pieces.next_from(0) or 0
        first = lowest - lowest % 8
        return cls(subscription, first, PieceSet(pieces.bits >> first).to_bytes())

    @property
    def pieces(self) -> PieceSet:
        return PieceSet(PieceSet.from_bytes(self.bitmap).bits << self.first)


class Request(msgspec.Struct, frozen=True, array_like=True):
    """Send me `length` bytes from `start`, or expose them on a lane (-1: send them). The child numbers its requests; a
    number is used once per connection."""

    request: Number
    subscription: Subscription
    start: Number
    length: Annotated[int, Meta(ge=1, le=MAX_REQUEST)]
    lane: Annotated[int, Meta(ge=-1, lt=MAX_LANES)] = -1


class Busy(msgspec.Struct, frozen=True, array_like=True):
    """Too much waits here; ask again later."""

    request: Number
    retry_after_ms: Annotated[int, Meta(ge=0, le=60_000)]


class Refused(msgspec.Struct, frozen=True, array_like=True):
    request: Number
    reason: Reason


class Ping(msgspec.Struct, frozen=True, array_like=True):
    """Are you there? Answered by a Pong with the same token."""

    token: Number


class Pong(msgspec.Struct, frozen=True, array_like=True):
    token: Number


class Goodbye(msgspec.Struct, frozen=True, array_like=True):
    """The sender closes after this."""

    reason: Reason


class LaneEnd(msgspec.Struct, frozen=True, array_like=True):
    """One end of a lane: `rdma.interface.Endpoint` on the wire, which checks it further."""

    number: Annotated[int, Meta(ge=0)]
    gid: Annotated[bytes, Meta(min_length=16, max_length=16)]
    lid: Annotated[int, Meta(ge=0)]
    packet: Annotated[int, Meta(ge=0)]
    mtu: Annotated[int, Meta(ge=0)]
    reads: Annotated[int, Meta(ge=0)]


class LanesWanted(msgspec.Struct, frozen=True, array_like=True):
    """Connect these. A child asks only after a subscription whose capability holds, and again after a lane failed."""

    ends: Annotated[list[LaneEnd], Meta(min_length=1, max_length=MAX_LANES)]


class LanesOpened(msgspec.Struct, frozen=True, array_like=True):
    """The other end of each, None where there is none; `reason` then says why."""

    ends: Annotated[list[LaneEnd | None], Meta(max_length=MAX_LANES)]
    reason: Reason = ""


class Exposed(msgspec.Struct, frozen=True, array_like=True):
    """The bytes of `request` from its byte `done` on may be read at `address`, with `key`, over the lane asked for,
    until they have landed or the parent's patience ends. Parts come in order."""

    request: Number
    done: Annotated[int, Meta(ge=0, lt=MAX_REQUEST)]
    address: Annotated[int, Meta(ge=0)]
    length: Annotated[int, Meta(ge=1, le=MAX_REQUEST)]
    key: Annotated[int, Meta(ge=0)]


class Landed(msgspec.Struct, frozen=True, array_like=True):
    """The oldest part of `request` that is exposed was read; nothing of it is needed any more."""

    request: Number


class LaneClosed(msgspec.Struct, frozen=True, array_like=True):
    """A lane is of no more use, and with it all that is exposed on it."""

    lane: Annotated[int, Meta(ge=0, lt=MAX_LANES)]
    reason: Reason


class Body(msgspec.Struct, frozen=True):
    """The header of a block: `length` raw bytes of `request` follow; no more come after it when `last`."""

    request: int
    length: int
    last: bool


Control = (
    Hello
    | HelloOk
    | HelloRefused
    | Subscribe
    | SubscribeRefused
    | Unsubscribe
    | Have
    | Request
    | Busy
    | Refused
    | Ping
    | Pong
    | Goodbye
    | LanesWanted
    | LanesOpened
    | Exposed
    | Landed
    | LaneClosed
)

BODY_TYPE = 16

# type on the wire -> (frame, longest payload in bytes)
CONTROL_TYPES: dict[int, tuple[type[Control], int]] = {
    1: (Hello, 2048),
    2: (HelloOk, 2048),
    3: (HelloRefused, 4096),
    4: (Subscribe, 8192),
    5: (SubscribeRefused, 4096),
    6: (Unsubscribe, 1024),
    7: (Have, MAX_PIECES // 8 + 1024),
    8: (Request, 1024),
    9: (Busy, 1024),
    10: (Refused, 4096),
    11: (Ping, 1024),
    12: (Pong, 1024),
    13: (Goodbye, 4096),
    17: (LanesWanted, 4096),
    18: (LanesOpened, 8192),
    19: (Exposed, 1024),
    20: (Landed, 1024),
    21: (LaneClosed, 4096),
}
_TYPE_OF = {frame: code for code, (frame, _) in CONTROL_TYPES.items()}
_encoder = msgspec.msgpack.Encoder()


def encode(frame: Control) -> bytes:
    """Header and payload of a control frame."""
    payload = _encoder.encode(frame)
    return HEADER.pack(_TYPE_OF[type(frame)], 0, 0, len(payload), 0) + payload


def encode_body_header(request: int, length: int, *, last: bool) -> bytes:
    """The header before a block of `length` bytes (1 to MAX_BLOCK)."""
    return HEADER.pack(BODY_TYPE, LAST if last else 0, 0, length, request)


def brief(reason: str) -> str:
    """`reason`, short enough to travel."""
    return reason if len(reason) <= 500 else reason[:499] + "…"
