"""What a store holds, read from its files: finished pieces, which no pull may fetch again, and whether all is sound."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from modeldist.agent.store.journal import parse
from modeldist.scheduler.pieces import PieceLayout
from tests.servers.oci_faults import Exchange

Ranges = dict[str, list[tuple[int, int]]]
"""digest -> [start, end) of bytes."""


def finished(store: Path, digests: Collection[str]) -> Ranges:
    """Of these shards, the complete ones, and the journaled pieces of partial ones."""
    found: Ranges = defaultdict(list)
    for folder in (store / "partial").glob("*"):
        try:
            journal = parse((folder / "journal").read_bytes())
        except FileNotFoundError:
            continue  # nothing finished yet, or just completed
        if journal is None:
            continue
        layout = PieceLayout(journal.header.size, journal.header.piece_size)
        for piece in journal.pieces:
            start = layout.offset(piece)
            found[str(journal.header.digest)].append((start, start + layout.length(piece)))
    for blob in (store / "blobs" / "sha256").glob("*/*"):
        found[f"sha256:{blob.name}"] = [(0, blob.stat().st_size)]
    return {digest: ranges for digest, ranges in found.items() if digest in digests}


def size_of(ranges: Ranges) -> int:
    """Bytes, those counted twice that are there twice."""
    return sum(end - start for parts in ranges.values() for start, end in parts)


def united(*several: Mapping[str, list[tuple[int, int]]]) -> Ranges:
    """The same bytes, each once."""
    found: Ranges = {}
    for digest in {digest for ranges in several for digest in ranges}:
        merged: list[tuple[int, int]] = []
        for start, end in sorted(part for ranges in several for part in ranges.get(digest, [])):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        found[digest] = merged
    return found


def read_ranges(exchanges: Iterable[Exchange]) -> Ranges:
    """What these requests asked the origin for."""
    asked: Ranges = defaultdict(list)
    for exchange in exchanges:
        if exchange.range:
            first, last = exchange.range.removeprefix("bytes=").split("-")
            asked[exchange.path.rpartition("/")[2]].append((int(first), int(last) + 1))
    return asked


def common(one: Ranges, other: Ranges) -> list[tuple[str, int, int]]:
    """Bytes in both."""
    return [
        (digest, max(a, c), min(b, d))
        for digest, ranges in one.items()
        for a, b in ranges
        for c, d in other.get(digest, [])
        if max(a, c) < min(b, d)
    ]


def assert_right(snapshot: Path, files: dict[str, bytes]) -> None:
    assert {file.name: file.read_bytes() for file in snapshot.iterdir()} == files


def assert_sound(store: Path) -> None:
    """Every blob is what its name says, every snapshot is made of blobs and has its record, nothing is half done."""
    blobs = {blob.name: blob.read_bytes() for blob in (store / "blobs" / "sha256").glob("*/*")}
    for name, content in blobs.items():
        assert hashlib.sha256(content).hexdigest() == name, f"{name} is corrupt"
    for reference in (store / "hub").glob("models--*/refs/*"):
        assert (reference.parents[1] / "snapshots" / reference.read_text()).is_dir(), f"{reference} names no snapshot"
    for file in (store / "hub").glob("models--*/snapshots/*/*"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() in blobs, f"{file} is no blob of the store"
    for record in (store / "artifacts").glob("*.json"):
        json.loads(record.read_bytes())
    assert not list((store / "partial").glob("*/data")), "all pulls have ended"
