"""Small shards taken in whole: read by the caller's reader, proven, and named together."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist.agent.store import ShardLocked, Store, WrongContent
from modeldist.artifact import Digest, Shard
from modeldist.errors import IntegrityError, NotFound, StorageError
from tests.integration.store.made_models import KIB, content, digest_of, receive, shard_of

CONTENTS = [content(size * KIB, seed=size) for size in (1, 8, 9, 200)]
SHARDS = [shard_of(data) for data in CONTENTS]
BY_DIGEST = {shard.digest: data for shard, data in zip(SHARDS, CONTENTS, strict=True)}


class Reader:
    """Gives each shard its content, and remembers which were asked for."""

    def __init__(self, contents: dict[Digest, bytes] = BY_DIGEST) -> None:
        self.contents = contents
        self.asked: list[Digest] = []

    def __call__(self, shard: Shard, fd: int) -> None:
        self.asked.append(shard.digest)
        if shard.digest not in self.contents:
            raise NotFound(f"{shard.digest} is not here.")
        os.pwrite(fd, self.contents[shard.digest], 0)


def left_behind(store: Store) -> list[Path]:
    return [*(store.root / "partial").iterdir(), *(store.root / "tmp").iterdir()]


def git_sha1(data: bytes) -> Digest:
    return Digest(f"git-sha1:{hashlib.sha1(b'blob %d' % len(data) + bytes(1) + data).hexdigest()}")


def test_they_become_read_only_blobs(store: Store) -> None:
    assert store.take_in(SHARDS, Reader()) == [(shard, None) for shard in SHARDS]
    for shard, data in zip(SHARDS, CONTENTS, strict=True):
        path = store.path(shard.digest)
        assert path is not None
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o444
    assert left_behind(store) == []


def test_one_known_by_another_digest_is_found_by_both(store: Store) -> None:
    data = CONTENTS[0]
    git, etag = Shard(git_sha1(data), len(data)), Shard(Digest(f"etag:{1:064x}"), len(data))
    assert store.take_in((git, etag), Reader({git.digest: data, etag.digest: data})) == [(git, None), (etag, None)]
    assert store.path(git.digest) == store.path(etag.digest) == store.path(digest_of(data))


def test_an_empty_one(store: Store) -> None:
    empty = shard_of(b"")
    assert store.take_in((empty,), Reader({empty.digest: b""})) == [(empty, None)]
    assert store.has(empty.digest)


@pytest.mark.parametrize("sent", [b"", CONTENTS[1][:-1], CONTENTS[1] + b"1", bytes(8 * KIB)])
def test_a_wrong_one_is_not_stored_and_spoils_no_other(store: Store, sent: bytes) -> None:
    outcomes = store.take_in(SHARDS, Reader(BY_DIGEST | {SHARDS[1].digest: sent}))
    assert [type(error) for _, error in outcomes] == [type(None), WrongContent, type(None), type(None)]
    assert [store.has(shard.digest) for shard in SHARDS] == [True, False, True, True]
    assert left_behind(store) == []
    assert store.take_in(SHARDS[1:2], Reader()) == [(SHARDS[1], None)]


def test_what_has_no_digest_must_have_its_size(store: Store) -> None:
    shard = Shard(Digest(f"etag:{1:064x}"), 3)
    (_, error), *_ = store.take_in((shard,), Reader({shard.digest: b"four"}))
    assert isinstance(error, WrongContent)


def test_one_that_cannot_be_read_spoils_no_other(store: Store) -> None:
    missing = shard_of(b"missing")
    outcomes = dict(store.take_in((missing, *SHARDS), Reader()))
    assert isinstance(outcomes.pop(missing), NotFound)
    assert set(outcomes.values()) == {None}
    store.begin(missing, 64 * KIB).close()  # nobody has it locked


def test_a_disk_that_fails_is_named(store: Store) -> None:
    def read(shard: Shard, fd: int) -> None:
        raise OSError(5, "Input/output error")

    ((_, error),) = store.take_in(SHARDS[:1], read)
    assert isinstance(error, StorageError)
    assert str(store.root) in str(error)


def test_a_reader_that_breaks_leaves_nothing(store: Store) -> None:
    def read(shard: Shard, fd: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.take_in(SHARDS, read)
    assert left_behind(store) == []
    assert all(error is None for _, error in store.take_in(SHARDS, Reader()))


def test_what_another_pull_fetches_is_left_to_it(store: Store) -> None:
    other = Store.open(store.root)
    reader = Reader()
    with other.begin(SHARDS[1], 64 * KIB) as partial:
        outcomes = store.take_in(SHARDS, reader)
        assert [type(error) for _, error in outcomes] == [type(None), ShardLocked, type(None), type(None)]
        assert SHARDS[1].digest not in reader.asked
        receive(partial, CONTENTS[1])
        partial.commit()
    assert store.take_in(SHARDS, reader) == [(shard, None) for shard in SHARDS]
    assert SHARDS[1].digest not in reader.asked, "it is here"
    other.close()


def test_each_is_locked_from_when_it_is_drawn_until_all_are_named(store: Store) -> None:
    other = Store.open(store.root)
    seen: list[list[bool]] = []

    def drawn() -> Iterator[Shard]:
        for shard in SHARDS:
            seen.append([other.wait_unlocked(each.digest, 0) for each in SHARDS])
            yield shard

    store.take_in(drawn(), Reader())
    assert seen == [[index >= count for index in range(len(SHARDS))] for count in range(len(SHARDS))]
    assert all(other.wait_unlocked(shard.digest, 0) for shard in SHARDS)
    other.close()


def test_a_manifest_that_is_wrong_about_a_size(store: Store) -> None:
    store.put_bytes(CONTENTS[0])
    ((_, error),) = store.take_in((Shard(SHARDS[0].digest, 7),), Reader())
    assert isinstance(error, IntegrityError)
    assert "7" in str(error)


def test_which_are_suitable(store: Store) -> None:
    large, begun = shard_of(content(300 * KIB, seed=1)), shard_of(content(8 * KIB, seed=2))
    (store.root / "partial" / begun.digest.replace(":", "-")).mkdir()
    assert store.suitable((*SHARDS, large, begun)) == {shard.digest for shard in SHARDS}


def test_none_are_where_files_cannot_be_nameless(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", 0)  # a directory cannot be opened for writing: EISDIR, as on such filesystems
    assert store.suitable(SHARDS) == set()
