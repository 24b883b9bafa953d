"""A shard being fetched: verified pieces, new cuts, proof of the whole, and what a crash leaves behind."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeldist.agent.store import ShardLocked, Store
from modeldist.agent.store.buffers import COUNT
from modeldist.artifact import Digest, Shard
from modeldist.errors import IntegrityError, StorageError
from modeldist.scheduler.pieces import PieceSet
from tests.integration.store.made_models import KIB, content, digest_of, put, receive, shard_of

DATA = content(1000 * KIB + 7)
SHARD = shard_of(DATA)
PIECE = 64 * KIB


def folder(store: Store, shard: Shard = SHARD) -> Path:
    return store.root / "partial" / shard.digest.replace(":", "-")


def test_verified_shard_becomes_a_read_only_blob(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        assert os.fstat(partial.fd).st_size == len(DATA)
        receive(partial, DATA)
        assert partial.have() == partial.layout.all
        assert partial.commit() == SHARD.digest
        assert partial.commit() == SHARD.digest
    path = store.path(SHARD.digest)
    assert path is not None
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o444
    assert not folder(store).exists()


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1])
def test_sizes_around_a_piece(store: Store, size: int) -> None:
    data = content(size)
    put(store, data, piece_size=PIECE)
    path = store.path(digest_of(data))
    assert path is not None
    assert path.read_bytes() == data


@pytest.mark.parametrize("kind", ["git-sha1", "etag"])
def test_other_digests_become_aliases(store: Store, kind: str) -> None:
    assert not store.has(digest_of(DATA, kind))
    assert put(store, DATA, kind) == SHARD.digest
    assert store.path(digest_of(DATA, kind)) == store.path(SHARD.digest)


def test_same_content_under_two_digests_is_one_file(store: Store) -> None:
    put(store, DATA, "git-sha1")
    first = store.path(SHARD.digest)
    assert first is not None
    inode = first.stat().st_ino
    put(store, DATA, "etag")
    assert first.stat().st_ino == inode
    assert len(list((store.root / "blobs" / "sha256").glob("*/*"))) == 1


@pytest.mark.parametrize("kind", ["sha256", "git-sha1"])
def test_wrong_content_is_refused_and_forgotten(store: Store, kind: str) -> None:
    shard = shard_of(DATA, kind)
    wrong = DATA[:-1] + b"?"
    with store.begin(shard, PIECE) as partial:
        receive(partial, wrong)
        with pytest.raises(IntegrityError) as failure:
            partial.commit()
        assert shard.digest in str(failure.value)
        assert digest_of(wrong, kind) in str(failure.value)
        assert not partial.have()
        assert not store.has(shard.digest)
        receive(partial, DATA)
        assert partial.commit() == SHARD.digest


def test_incomplete_shard_cannot_be_committed(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [0, 1])
        with pytest.raises(StorageError, match="lacks 14 of 16 pieces"):
            partial.commit()


def test_late_writes_cannot_reach_a_committed_blob(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA)
        partial.commit()
        with pytest.raises(OSError) as failure:
            os.pwrite(partial.fd, b"late", 0)
        assert failure.value.errno == errno.EBADF
        assert partial.hash_piece(0) == blake3(DATA[:PIECE]).digest()


def test_pieces_outside_the_shard_are_refused(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial, pytest.raises(StorageError, match="no piece 16"):
        partial.add(16, bytes(32))


def test_closed_partial_refuses_everything(store: Store) -> None:
    partial = store.begin(SHARD, PIECE)
    partial.close()
    partial.close()
    for use in (lambda: partial.add(0, bytes(32)), lambda: partial.hash_piece(0), partial.commit, partial.reset):
        with pytest.raises(StorageError, match="no longer open"):
            use()


# --- resume ---


def test_finished_pieces_are_kept(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [0, 1, 2, 7, 15])
        digests = partial.digests()
    with store.begin(SHARD, 1 * KIB) as partial:
        assert partial.layout.piece_size == PIECE
        assert partial.have() == PieceSet.of([0, 1, 2, 7, 15])
        assert partial.digests() == digests
        receive(partial, DATA)
        partial.commit()
    assert store.has(SHARD.digest)


def test_piece_whose_data_was_lost_is_fetched_again(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [0, 1, 2])
    with (folder(store) / "data").open("r+b") as file:
        file.seek(PIECE + 5)
        file.write(bytes(3))
    for _ in range(2):
        with store.begin(SHARD, PIECE) as partial:
            assert partial.have() == PieceSet.of([0, 2])


def test_lost_data_file_loses_its_pieces(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [0, 1, 2])
    (folder(store) / "data").unlink()
    with store.begin(SHARD, PIECE) as partial:
        assert not partial.have()


def test_torn_journal_loses_one_piece(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [4, 5, 6])
    journal = folder(store) / "journal"
    os.truncate(journal, journal.stat().st_size - 3)
    with store.begin(SHARD, PIECE) as partial:
        assert partial.have() == PieceSet.of([4, 5])
        receive(partial, DATA, [9])
    with store.begin(SHARD, PIECE) as partial:
        assert partial.have() == PieceSet.of([4, 5, 9])


def test_journal_of_another_shard_is_ignored(store: Store) -> None:
    other = shard_of(content(len(DATA), seed=1))
    with store.begin(other, PIECE) as partial:
        receive(partial, content(len(DATA), seed=1), [0])
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [0])
    (folder(store) / "journal").write_bytes((folder(store, other) / "journal").read_bytes())
    with store.begin(SHARD, 2 * PIECE) as partial:
        assert not partial.have()
        assert partial.layout.piece_size == 2 * PIECE


def test_crash_after_the_data_became_read_only(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA)
    (folder(store) / "data").chmod(0o444)
    with store.begin(SHARD, PIECE) as partial:
        assert partial.commit() == SHARD.digest


def test_partial_without_pieces_leaves_nothing(store: Store) -> None:
    store.begin(SHARD, PIECE).close()
    assert not folder(store).exists()


def test_discard_removes_the_pieces(store: Store) -> None:
    partial = store.begin(SHARD, PIECE)
    receive(partial, DATA, [0])
    partial.discard()
    assert not folder(store).exists()


def test_reset_forgets_for_good(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [0, 1])
        partial.reset()
        assert not partial.have()
        assert not partial.digests()
        receive(partial, DATA, [2])
    with store.begin(SHARD, PIECE) as partial:
        assert partial.have() == PieceSet.of([2])


# --- another piece size ---


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    have=st.sets(st.integers(0, 15)),
    sizes=st.lists(st.sampled_from([16 * KIB, 48 * KIB, PIECE, 128 * KIB, 2048 * KIB]), min_size=1, max_size=3),
)
def test_recut_keeps_verified_bytes_and_the_whole_stays_provable(
    store: Store, have: set[int], sizes: list[int]
) -> None:
    data = DATA + bytes([len(have), *have, *(size >> 14 for size in sizes)])
    shard = shard_of(data)
    if store.has(shard.digest):
        return
    partial = store.begin(shard, PIECE)
    receive(partial, data, have)
    for size in sizes:
        before = partial.layout.bytes_of(partial.have())
        partial.recut(size)
        layout = partial.layout
        assert layout.piece_size == size
        assert layout.bytes_of(partial.have()) <= before
        assert partial.digests() == {
            piece: blake3(data[layout.offset(piece) : layout.offset(piece) + layout.length(piece)]).digest()
            for piece in partial.have()
        }
    kept = partial.have()
    partial.close()
    with store.begin(shard, sizes[-1]) as partial:
        assert partial.have() == kept
        receive(partial, data)
        partial.commit()
    assert store.has(shard.digest)


def test_recut_to_the_same_size_changes_nothing(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [0])
        partial.recut(PIECE)
        assert partial.have() == PieceSet.of([0])


# --- piece digests of complete shards ---


def test_piece_digests_are_kept_for_complete_shards(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA)
        partial.commit()
        store.keep_piece_digests(partial)
    again = Store.open(store.root)
    assert again.piece_digests(SHARD.digest) == (PIECE, partial.digests())
    again.close()


@pytest.mark.parametrize("damage", [b"", bytes(8), bytes(8) + bytes(32), (5).to_bytes(8, "little") + bytes(31)])
def test_damaged_piece_digests_count_as_absent(store: Store, damage: bytes) -> None:
    put(store, DATA)
    assert store.piece_digests(SHARD.digest) is None
    assert store.piece_digests(digest_of(b"unknown", "etag")) is None
    (store.root / "pieces" / SHARD.digest.partition(":")[2]).write_bytes(damage)
    assert store.piece_digests(SHARD.digest) is None


# --- one at a time, many threads ---


def test_second_begin_is_refused_until_the_first_is_closed(store: Store) -> None:
    first = store.begin(SHARD, PIECE)
    receive(first, DATA, [0])
    with pytest.raises(ShardLocked) as failure:
        store.begin(SHARD, PIECE)
    assert failure.value.code == "shard_locked"
    assert not store.wait_unlocked(SHARD.digest, 0)
    first.close()
    assert store.wait_unlocked(SHARD.digest, 0)
    store.begin(SHARD, PIECE).close()


def test_begin_of_a_complete_shard_has_everything(store: Store) -> None:
    put(store, DATA)
    with store.begin(SHARD, PIECE) as partial:
        assert partial.have() == partial.layout.all
        assert partial.digests()[1] == blake3(DATA[PIECE : 2 * PIECE]).digest()
        partial.recut(2 * PIECE)
        assert partial.digests()[1] == blake3(DATA[2 * PIECE : 4 * PIECE]).digest()
        partial.reset()
        assert partial.have() == partial.layout.all
        assert partial.commit() == SHARD.digest
        partial.discard()
    assert store.has(SHARD.digest)
    assert not folder(store).exists()


def test_complete_blob_of_another_size_is_refused(store: Store) -> None:
    put(store, DATA)
    with pytest.raises(IntegrityError, match=f"has {len(DATA)} bytes"):
        store.begin(Shard(SHARD.digest, 5), PIECE)
    assert not folder(store).exists()


def test_more_threads_than_buffers_hash_at_once(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, range(8))
        found: list[bytes] = []
        threads = [threading.Thread(target=lambda: found.append(partial.hash_piece(3))) for _ in range(2 * COUNT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(found) == {blake3(DATA[3 * PIECE : 4 * PIECE]).digest()}
        assert len(found) == 2 * COUNT


def test_pieces_added_by_many_threads_make_the_whole(store: Store) -> None:
    data = content(4096 * KIB, seed=2)
    with store.begin(shard_of(data), 16 * KIB) as partial:
        count = partial.layout.count
        threads = [threading.Thread(target=receive, args=(partial, data, range(start, count, 4))) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert partial.commit() == digest_of(data)


def test_closing_gives_up_hashing(store: Store) -> None:
    """A commit in one thread does not hold up close() in another; what is verified stays."""
    size = 256 << 20
    shard = Shard(Digest("etag:" + "0" * 64), size)
    partial = store.begin(shard, 16 << 20)
    zeros = blake3(bytes(16 << 20)).digest()
    for piece in range(1, partial.layout.count):  # the first is missing, so nothing is hashed yet
        partial.add(piece, zeros)
    partial.add(0, zeros)
    outcome: list[object] = []

    def commit() -> None:
        try:
            outcome.append(partial.commit())
        except StorageError as error:
            outcome.append(error)

    thread = threading.Thread(target=commit)
    thread.start()
    partial.close()
    thread.join()
    assert outcome
    if isinstance(outcome[0], StorageError):
        with store.begin(shard, 16 << 20) as again:
            assert again.have() == again.layout.all


def test_unknown_file_errors_name_the_place(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    (store.root / "partial").rmdir()
    (store.root / "partial").write_text("in the way")
    with pytest.raises(StorageError, match="partial"):
        store.begin(SHARD, PIECE)
    store.close()
