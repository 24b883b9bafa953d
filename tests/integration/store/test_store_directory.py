"""What the piece server reads: complete blobs, and partial shards while they grow."""

from __future__ import annotations

import os

import pytest

from modeldist.agent.store import Store
from modeldist.scheduler.pieces import PieceSet, piece_size_for
from modeldist.transfer.base import OpenShard, ShardDirectory
from tests.integration.store.made_models import KIB, content, digest_of, put, receive, shard_of

DATA = content(640 * KIB)
SHARD = shard_of(DATA)
PIECE = 64 * KIB


def directory(store: Store) -> ShardDirectory:
    return store.directory()


def opened(store: Store) -> OpenShard:
    found = directory(store).open(SHARD.digest)
    assert found is not None
    return found


def test_nothing_of_an_unknown_shard(store: Store) -> None:
    assert directory(store).open(SHARD.digest) is None


@pytest.mark.parametrize("kind", ["sha256", "git-sha1", "etag"])
def test_complete_shard_by_any_digest(store: Store, kind: str) -> None:
    put(store, DATA, kind)
    again = Store.open(store.root)
    found = directory(again).open(digest_of(DATA, kind))
    assert found is not None
    assert found.layout.piece_size == piece_size_for(len(DATA))
    assert found.have() == found.layout.all
    assert os.pread(found.fd, len(DATA), 0) == DATA
    found.close()
    again.close()


def test_complete_shard_is_cut_as_it_was_fetched_or_as_told(store: Store) -> None:
    put(store, DATA, piece_size=PIECE)
    first = opened(store)
    assert first.layout.piece_size == PIECE
    store.directory().cut(SHARD.digest, 2 * PIECE)
    second = opened(store)
    assert second.layout.piece_size == 2 * PIECE
    assert len(second.have()) == 5
    first.close()
    second.close()


def test_complete_shard_is_cut_as_its_kept_digests_after_a_restart(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA)
        partial.commit()
        store.keep_piece_digests(partial)
    again = Store.open(store.root)
    reader = opened(again)
    assert reader.layout.piece_size == PIECE
    reader.close()
    again.close()


def test_partial_grows_under_its_reader_and_becomes_whole(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [1])
        reader = opened(store)
        assert reader.have() == PieceSet.of([1])
        receive(partial, DATA, [4])
        assert reader.have() == PieceSet.of([1, 4])
        assert os.pread(reader.fd, PIECE, 4 * PIECE) == DATA[4 * PIECE : 5 * PIECE]
        receive(partial, DATA)
        partial.commit()
        assert reader.have() == partial.layout.all
    assert reader.have() == reader.layout.all
    assert os.pread(reader.fd, len(DATA), 0) == DATA
    reader.close()


def test_reader_follows_a_pull_that_stops_and_starts_again(store: Store) -> None:
    partial = store.begin(SHARD, PIECE)
    receive(partial, DATA, [0])
    reader = opened(store)
    partial.close()
    assert reader.have() == PieceSet.of([0])
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [1])
        assert reader.have() == PieceSet.of([0, 1])
        receive(partial, DATA)
        partial.commit()
    assert reader.have() == reader.layout.all
    assert os.pread(reader.fd, len(DATA), 0) == DATA
    reader.close()


def test_watchers_hear_only_of_new_pieces(store: Store) -> None:
    heard: list[PieceSet] = []
    stop = directory(store).watch(SHARD.digest, lambda pieces, _: heard.append(pieces))
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [0, 0])
        receive(partial, DATA, [2])
    assert heard == [PieceSet.of([0]), PieceSet.of([2])]
    with store.begin(SHARD, PIECE) as partial:
        assert heard[-1] == PieceSet.of([0, 2])  # here again: news to a watcher that found nothing in between
        stop()
        stop()
        receive(partial, DATA, [3])
    assert len(heard) == 3


def test_removed_blob_stays_readable_for_whoever_has_it_open(store: Store) -> None:
    put(store, DATA)
    reader = opened(store)
    path = store.path(SHARD.digest)
    assert path is not None
    path.unlink()
    assert os.pread(reader.fd, len(DATA), 0) == DATA
    reader.close()
    assert directory(store).open(SHARD.digest) is None
