"""A shard of one small piece: no name before it is a blob, a lock that costs no inode, nothing left behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modeldist.agent.store import ShardLocked, Store, commit_all
from modeldist.agent.store.range_locks import RangeLocks
from modeldist.agent.store.sync_many import give_back, sync_all
from modeldist.errors import IntegrityError
from tests.integration.store.made_models import KIB, content, digest_of, receive, shard_of

DATA = content(8 * KIB)
SHARD = shard_of(DATA)
PIECE = 64 * KIB


def left_behind(store: Store) -> list[Path]:
    return [*(store.root / "partial").iterdir(), *(store.root / "tmp").iterdir()]


def test_it_has_no_name_until_it_is_a_read_only_blob(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA)
        assert left_behind(store) == []
        assert partial.commit() == SHARD.digest
    path = store.path(SHARD.digest)
    assert path is not None
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o444
    assert left_behind(store) == []


def test_a_late_write_cannot_reach_the_blob(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA)
        partial.commit()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(partial.fd, b"late", 0)


def test_many_are_published_together_and_a_wrong_one_among_them_is_not(store: Store) -> None:
    contents = [content(size) for size in (1, 8 * KIB, 9 * KIB, 10 * KIB)]
    partials = [store.begin(shard_of(data), PIECE) for data in contents]
    try:
        for partial, data in zip(partials, contents, strict=True):
            receive(partial, data)
        os.pwrite(partials[2].fd, b"other", 0)
        outcomes = commit_all(partials)
        assert isinstance(outcomes[2], IntegrityError)
        for index in (0, 1, 3):
            assert outcomes[index] == digest_of(contents[index])
            path = store.path(digest_of(contents[index]))
            assert path is not None and path.read_bytes() == contents[index]
        assert not store.has(digest_of(contents[2])) and not partials[2].have()
    finally:
        for partial in partials:
            partial.close()
    assert left_behind(store) == []


def test_what_is_in_the_store_already_is_not_published_twice(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA)
        blob = store.root / "blobs" / "sha256" / SHARD.digest[7:9] / SHARD.digest[7:]
        blob.parent.mkdir()
        blob.write_bytes(DATA)
        before = blob.stat().st_ino
        assert partial.commit() == SHARD.digest
        assert blob.stat().st_ino == before
    assert left_behind(store) == []


def test_each_file_hears_of_its_own_sync(tmp_path: Path) -> None:
    source, sink = os.pipe()  # which cannot be synced
    fds = [os.open(tmp_path / str(index), os.O_RDWR | os.O_CREAT) for index in range(600)]
    try:
        found = sync_all([*fds[:300], sink, *fds[300:]])
        assert found[:300] + found[301:] == [None] * 600
        assert isinstance(found[300], OSError) and found[300].errno == errno.EINVAL
        assert sync_all([]) == []
        give_back()
        assert sync_all(fds) == [None] * 600
        give_back()
    finally:
        for fd in (source, sink, *fds):
            os.close(fd)


def test_closed_before_its_end_it_is_gone(store: Store) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA)
    assert left_behind(store) == []
    with store.begin(SHARD, PIECE) as again:
        assert not again.have()


def test_nobody_else_begins_it_meanwhile(store: Store) -> None:
    other = Store.open(store.root)
    try:
        with store.begin(SHARD, PIECE):
            for one in (store, other):
                with pytest.raises(ShardLocked):
                    one.begin(SHARD, PIECE)
                assert not one.wait_unlocked(SHARD.digest, 0)
        assert other.wait_unlocked(SHARD.digest, 0)
        other.begin(SHARD, PIECE).close()
    finally:
        other.close()


def test_where_files_cannot_be_nameless_it_gets_a_folder(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", 0)  # a directory cannot be opened for writing: EISDIR, as on such filesystems
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA)
        assert [path.name for path in left_behind(store)] == [SHARD.digest.replace(":", "-")]
        partial.commit()
    assert store.has(digest_of(DATA))
    assert left_behind(store) == []


def test_the_locks_of_a_process_that_died_are_free(tmp_path: Path) -> None:
    path = tmp_path / "locks"
    code = (
        "import sys; from pathlib import Path; from modeldist.agent.store.range_locks import RangeLocks\n"
        "locks = RangeLocks(Path(sys.argv[1])); held = locks.try_lock('a'); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdin is not None
    with holder, holder.stdout, holder.stdin:
        assert holder.stdout.readline() == b"held\n"
        locks = RangeLocks(path)
        assert locks.try_lock("a") is None
        assert locks.is_locked("a")
        holder.kill()
        holder.wait()
        assert locks.wait_unlocked("a", 10)
        assert locks.try_lock("a") is not None
        locks.close()
