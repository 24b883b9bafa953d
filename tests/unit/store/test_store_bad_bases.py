"""Another version's file that cannot be read costs the bytes that it would have saved, and no more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from modeldist.agent.store import Store
from modeldist.agent.store.reusing import Base, reuse
from modelpack.chunk_index import Cuts, average_for, cut
from tests.integration.store.made_models import shard_of

PIECE = 256 << 10
CONTENT = random.Random(1).randbytes(1 << 20)
CUTS = cut(memoryview(CONTENT), average_for(len(CONTENT)))


def unreadable() -> Iterator[Base]:
    """Removed, removed while it is looked at, and on a disk that cannot be read there."""

    def gone(_: float) -> Cuts:
        raise FileNotFoundError("it was evicted")

    yield Base(Path("/no/where"), lambda _: CUTS)
    yield Base(Path("/proc/self/status"), gone)
    yield Base(Path("/proc/self/mem"), lambda _: Cuts(CUTS.lengths[:1], CUTS.marks[:1]))


def test_bases_that_cannot_be_read_are_done_without(store: Store, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(CONTENT)
    with store.begin(shard_of(CONTENT), PIECE) as partial:
        layout = partial.layout
        trusted = {
            piece: blake3(CONTENT[layout.offset(piece) : layout.offset(piece) + layout.length(piece)]).digest()
            for piece in layout.all
        }
        bases = [*unreadable(), Base(good, lambda _: CUTS)]
        reuse(partial, layout.all, trusted, CUTS, bases, lambda: False)
        assert set(partial.have()) == set(layout.all) - {0}, "the first chunk was looked for on the bad disk"
