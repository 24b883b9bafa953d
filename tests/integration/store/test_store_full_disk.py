"""Disks that are too small, and limits on file sizes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist.agent.store import Store
from modeldist.artifact import Shard
from modeldist.errors import NotEnoughSpace
from tests.integration.store.made_models import KIB, content, digest_of, receive, shard_of
from tests.servers.cluster import wait_until

DISK = 4 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "modeldist-test", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def store(small_disk: Path) -> Iterator[Store]:
    opened = Store.open(small_disk / "store")
    yield opened
    opened.close()


def test_too_much_is_refused_before_the_first_byte(store: Store) -> None:
    with pytest.raises(NotEnoughSpace) as failure:
        store.reserve(100 << 20)
    assert "104,857,600" in str(failure.value)
    assert str(store.root) in str(failure.value)
    assert "modeldist gc" in failure.value.remedy


def test_reservations_add_up(store: Store) -> None:
    with store.reserve(3 << 20) as first:
        with pytest.raises(NotEnoughSpace, match="reserved by other pulls"):
            store.reserve(3 << 20)
        partial = store.begin(shard_of(content(2 << 20)), 64 * KIB)
        assert first.outstanding == 1 << 20
        with store.reserve(512 * KIB):
            pass
        partial.discard()
    with store.reserve(3 << 20):
        pass


def test_shard_that_does_not_fit_leaves_nothing(store: Store) -> None:
    with pytest.raises(NotEnoughSpace, match="begin a shard"):
        store.begin(shard_of(content(8 << 20)), 64 * KIB)
    assert not list((store.root / "partial").iterdir())
    with store.reserve(3 << 20):
        pass


def test_what_is_allocated_beside_the_transfer_and_does_not_fit_fails_the_next_piece(
    small_disk: Path,
) -> None:
    subprocess.run(["mount", "-o", f"remount,size={24 * DISK}", str(small_disk)], check=True)
    store = Store.open(small_disk / "store")
    try:
        with pytest.raises(NotEnoughSpace), store.begin(Shard(digest_of(b""), 48 * DISK), DISK) as partial:
            for number in range(1000):
                partial.add(number % partial.layout.count, bytes(32))
                partial.reset()
                time.sleep(0.01)
        assert not list((store.root / "partial").iterdir())
    finally:
        store.close()


def test_space_is_no_longer_reserved_once_it_is_allocated(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    size = 64 << 20
    with store.reserve(size) as reserved, store.begin(Shard(digest_of(b""), size), DISK):
        wait_until("all is allocated", lambda: reserved.outstanding == 0)
    store.close()


def test_blob_that_does_not_fit_leaves_nothing(store: Store) -> None:
    with pytest.raises(NotEnoughSpace):
        store.put_bytes(content(8 << 20))
    assert not list((store.root / "tmp").iterdir())
    assert store.put_bytes(b"small") == digest_of(b"small")


def test_piece_that_cannot_be_noted_is_not_had(store: Store, small_disk: Path) -> None:
    data = content(2 << 20)
    with store.begin(shard_of(data), 16 * KIB) as partial:
        receive(partial, data, [0])
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))
        noted = 0
        with pytest.raises(NotEnoughSpace, match="note a piece"):
            for piece in range(1, partial.layout.count):
                receive(partial, data, [piece])
                noted = piece
        assert noted + 1 not in partial.have()
        filler.unlink()
        receive(partial, data)
        partial.commit()
    assert store.has(digest_of(data))


LIMITED = """
import resource, sys
from pathlib import Path
from modeldist.agent.store import Store
from modeldist.artifact import Shard
from modeldist.artifact import Shard
from modeldist.errors import StorageError
store = Store.open(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    store.begin(Shard("sha256:" + "0" * 64, 2 << 20), 1 << 20)
except StorageError as error:
    print(error)
store.close()
"""


def test_file_size_limit_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "store")], capture_output=True, text=True, check=True
    )
    assert "ulimit -f" in done.stdout
    assert not list((tmp_path / "store" / "partial").iterdir())
