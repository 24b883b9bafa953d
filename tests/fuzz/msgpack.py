"""Messages of msgpack with a length in front of each, as inputs hold several of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

_LENGTH = struct.Struct("!H")
WORDS = (
    *(b"\xc0", b"\xc2", b"\xc3", b"\x80", b"\x90", b"\x91", b"\xa0", b"\xc4\x00", b"\xa1\xff", b"\xd9\x02\xed\xa0"),
    *(
        b"\xcb\x7f\xf0" + bytes(6),
        b"\xcb\x7f\xf8" + bytes(6),
        b"\xcb\xff\xf0" + bytes(6),
    ),
    *(b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xce\x7f\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\x91" * 600),
)
"""What msgpack is made of: nothing, nesting, text that is none, numbers at their ends."""


def joined(messages: Iterable[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(message)) + message for message in messages)


def parts(data: bytes) -> Iterator[bytes]:
    """The messages, the last cut where the input ends."""
    while len(data) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(data)
        yield data[_LENGTH.size : _LENGTH.size + length]
        data = data[_LENGTH.size + length :]
