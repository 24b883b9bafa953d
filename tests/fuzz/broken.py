"""Targets with faults of each kind, so that a test can see the runner find them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.target import Target


def _seeds() -> Iterator[bytes]:
    yield b"harmless"


def _raises(data: bytes) -> None:
    if data.startswith(b"!"):
        raise IndexError("an exclamation mark")


def _hangs(data: bytes) -> None:
    while data.startswith(b"!"):
        pass


def _devours(data: bytes) -> None:
    if data.startswith(b"!"):
        hoard = [bytes([number]) * (8 * 1024 * 1024) for number in range(200)]
        assert len(set(hoard)) == 200


RAISES = Target("raises", _raises, _seeds, (b"!",), longest=16)
HANGS = Target("hangs", _hangs, _seeds, (b"!",), longest=16)
DEVOURS = Target("devours", _devours, _seeds, (b"!",), longest=16)
