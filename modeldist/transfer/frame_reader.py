"""Reading the piece protocol: bytes in, frames out. Pure code, in the manner of h11.

Two ways to drive it. Feed whatever arrived to `receive`; a block's bytes come back as `BodyData`. Or read exactly
`wants` bytes at a time, and when a `Body` came out, move its `length` bytes to where they belong yourself (the kernel
can, without them passing through here) and say so with `body_moved`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from modeldist.transfer.frames import (
    BODY_TYPE,
    CONTROL_TYPES,
    HEADER,
    LAST,
    MAGIC,
    MAX_BLOCK,
    Body,
    Control,
    ProtocolError,
)


@dataclass(frozen=True)
class BodyData:
    """Some bytes of the block announced last."""

    request: int
    data: bytes


Event = Control | Body | BodyData

_DECODERS = {code: msgspec.msgpack.Decoder(frame) for code, (frame, _) in CONTROL_TYPES.items()}


class FrameReader:
    """One direction of one connection, from its first byte."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._need = len(MAGIC)
        self._take: Callable[[bytes, list[Event]], None] = self._take_magic
        self._control_type = 0
        self._body_request = 0
        self._body_left = 0
        self._broken: ProtocolError | None = None

    @property
    def wants(self) -> int:
        """Bytes until something can happen; reading no more than this never reads into a block. At least 1."""
        return self._body_left or self._need - len(self._buffer)

    def receive(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """The frames completed by `data`. Raises ProtocolError, from then on always."""
        if self._broken:
            raise self._broken
        events: list[Event] = []
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._advance(rest, events) :]
        except ProtocolError as error:
            self._broken = error
            raise
        return events

    def body_moved(self, count: int) -> None:
        """`count` bytes of the current block were taken from the connection by other means than `receive`."""
        if not 0 <= count <= self._body_left:
            raise ValueError(f"{count} bytes moved, but the block has {self._body_left} left")
        self._body_left -= count

    def _advance(self, data: memoryview, events: list[Event]) -> int:
        """Take some of `data`; how much."""
        chunk = data[: self.wants]
        if self._body_left:
            self._body_left -= len(chunk)
            events.append(BodyData(self._body_request, bytes(chunk)))
            return len(chunk)
        self._buffer += chunk
        if len(self._buffer) == self._need:
            complete = bytes(self._buffer)
            self._buffer.clear()
            self._take(complete, events)
        elif self._take == self._take_magic and not MAGIC.startswith(self._buffer):
            self._take_magic(bytes(self._buffer), events)
        return len(chunk)

    def _take_magic(self, data: bytes, _events: list[Event]) -> None:
        if data != MAGIC:
            raise ProtocolError("The other side does not speak the piece protocol.")
        self._expect_header()

    def _expect_header(self) -> None:
        self._need = HEADER.size
        self._take = self._take_header

    def _take_header(self, data: bytes, events: list[Event]) -> None:
        code, flags, reserved, length, request = HEADER.unpack(data)
        if code == BODY_TYPE:
            if not 1 <= length <= MAX_BLOCK or flags & ~LAST or reserved:
                raise ProtocolError(f"A block of {length} bytes with flags {flags} is outside the piece protocol.")
            self._body_request = request
            self._body_left = length
            events.append(Body(request, length, bool(flags & LAST)))
            return
        if code not in CONTROL_TYPES:
            raise ProtocolError(f"There is no frame of type {code} in the piece protocol.")
        frame, limit = CONTROL_TYPES[code]
        if not 1 <= length <= limit or flags or reserved or request:
            raise ProtocolError(f"The header of a {frame.__name__} frame ({length} bytes) breaks the piece protocol.")
        self._control_type = code
        self._need = length
        self._take = self._take_payload

    def _take_payload(self, data: bytes, events: list[Event]) -> None:
        try:
            frame = _DECODERS[self._control_type].decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            name = CONTROL_TYPES[self._control_type][0].__name__
            raise ProtocolError(f"A malformed {name} frame: {str(error)[:200]}.") from None
        self._expect_header()
        events.append(frame)
