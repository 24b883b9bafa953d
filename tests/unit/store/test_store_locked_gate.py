"""What keeps the collector away cannot be opened: whoever wants to publish is told, and keeps what is there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modeldist.agent.store import Store
from modeldist.agent.store.atomic import write_all
from modeldist.errors import StoreNotWritable
from tests.integration.store.made_models import KIB, artifact_of, content, digest_of, put, receive, shard_of

DATA = content(3 * KIB)
MODEL = artifact_of({"model.bin": DATA})


def broken(store: Store) -> Callable[[], None]:
    """Break the gate; what is returned mends it."""
    gate = store.root / "live" / "gate"
    gate.unlink(missing_ok=True)
    gate.mkdir()
    return gate.rmdir


def test_a_shard_cannot_be_finished_and_is_finished_later(store: Store) -> None:
    with store.begin(shard_of(DATA), KIB) as partial:
        receive(partial, DATA)
        mended = broken(store)
        with pytest.raises(StoreNotWritable, match=r"Cannot finish a shard at .*/live/gate is in the way"):
            partial.commit()
        assert partial.have() == partial.layout.all
        mended()
        assert partial.commit() == digest_of(DATA)
    assert store.has(digest_of(DATA))


def test_small_shards_cannot_be_taken_in(store: Store) -> None:
    mended = broken(store)
    with pytest.raises(StoreNotWritable, match=r"Cannot finish shards at .*/live/gate is in the way"):
        store.take_in([shard_of(DATA)], lambda _, fd: write_all(fd, DATA))
    mended()
    assert not store.has(digest_of(DATA))


def test_a_snapshot_cannot_be_made(store: Store) -> None:
    put(store, DATA)
    mended = broken(store)
    with pytest.raises(StoreNotWritable, match=r"Cannot make a snapshot at .*/live/gate is in the way"):
        store.materialise(MODEL)
    mended()
    assert (store.materialise(MODEL) / "model.bin").read_bytes() == DATA
