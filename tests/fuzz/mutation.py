"""Fuzzing without coverage, in plain Python: the same inputs in the same order for the same seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from tests.fuzz.target import Target

_EDGES = tuple(
    value.to_bytes(width, order)
    for width in (1, 2, 4, 8)
    for order in ("little", "big")
    for value in {0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1}
)
_NUMBERS = (b"0", b"-1", b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"1e999", b"9" * 5000)


def mutations(target: Target, seed: int) -> Iterator[bytes]:
    """The corpus as it is, then endless changes of it."""
    corpus = [data[: target.longest] for data in target.corpus()]
    yield from corpus
    draw = random.Random(seed)
    while True:
        data = draw.choice(corpus)
        for _ in range(draw.choice((1, 1, 1, 2, 3, 5))):
            data = draw.choice(_CHANGES)(data, draw, target, corpus)
        data = data[: target.longest]
        if draw.random() < 0.02:
            corpus.append(data)
        yield data


def run(target: Target, seconds: float, seed: int, guard: Callable[[bytes], None]) -> int:
    """Check inputs for `seconds` and give their number; at least the whole corpus. `guard` runs one."""
    until, count = time.monotonic() + seconds, 0
    at_least = len(target.corpus())
    for data in mutations(target, seed):
        guard(data)
        count += 1
        if count >= at_least and time.monotonic() > until:
            break
    return count


Change = Callable[[bytes, random.Random, Target, list[bytes]], bytes]


def _place(data: bytes, draw: random.Random) -> tuple[int, int]:
    start = draw.randint(0, len(data))
    return start, min(len(data), start + draw.choice((0, 1, 1, 2, 4, 8, 64, 512)))


def _flip(data: bytes, draw: random.Random, target: Target, corpus: list[bytes]) -> bytes:
    if not data:
        return bytes([draw.randrange(256)])
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def _cut(data: bytes, draw: random.Random, target: Target, corpus: list[bytes]) -> bytes:
    start, stop = _place(data, draw)
    return data[:start] + data[stop:]


def _end(data: bytes, draw: random.Random, target: Target, corpus: list[bytes]) -> bytes:
    return data[: draw.randint(0, len(data))]


def _repeat(data: bytes, draw: random.Random, target: Target, corpus: list[bytes]) -> bytes:
    start, stop = _place(data, draw)
    return data[:stop] + data[start:stop] * draw.choice((1, 2, 7, 100)) + data[stop:]


def _put(data: bytes, draw: random.Random, target: Target, corpus: list[bytes]) -> bytes:
    start, stop = _place(data, draw)
    word = draw.choice((*target.words, *_NUMBERS, *_EDGES, draw.randbytes(draw.randint(1, 8))))
    return data[:start] + word + data[draw.choice((start, stop)) :]


def _over(data: bytes, draw: random.Random, target: Target, corpus: list[bytes]) -> bytes:
    start, _ = _place(data, draw)
    word = draw.choice((*target.words, *_EDGES))
    return data[:start] + word + data[start + len(word) :]


def _join(data: bytes, draw: random.Random, target: Target, corpus: list[bytes]) -> bytes:
    other = draw.choice(corpus)
    return data[: draw.randint(0, len(data))] + other[draw.randint(0, len(other)) :]


_CHANGES: tuple[Change, ...] = (_flip, _cut, _end, _repeat, _put, _put, _over, _join)
