"""What rm and gc remove, and what they must not."""

from __future__ import annotations

import io
import shutil
import tarfile
import threading
import time
from pathlib import Path

import huggingface_hub
import pytest

from modeldist.agent.store import Store
from modeldist.agent.store.collector import DAY, ORPHAN_AGE, PARTIAL_AGE
from modeldist.agent.store.failures import free_bytes
from modeldist.artifact import Artifact
from modeldist.errors import NotFound
from tests.integration.store.made_models import KIB, artifact_of, content, digest_of, pull, put, receive, shard_of

SHARED = content(100 * KIB, seed=9)


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store.open(tmp_path / "store", clock=clock)


def model(store: Store, name: str, **more: str) -> Artifact:
    """A recorded, materialised model with a shard of its own and one that all share."""
    files = {"own.bin": content(200 * KIB, seed=len(name) * 100 + ord(name[-1])), "shared.bin": SHARED}
    artifact = artifact_of(files, repo_id=f"org/{name}", **more)
    pull(store, artifact, files, reference=f"org/{name}:main")
    store.materialise(artifact)
    return artifact


def test_removing_the_last_reference_removes_everything_but_shared_blobs(store: Store) -> None:
    one, other = model(store, "one"), model(store, "other")
    freed = store.remove("org/one:main")
    assert freed.artifacts == (one.digest,)
    assert 200 * KIB <= freed.bytes_freed < 300 * KIB
    assert store.artifact(one.digest) is None
    assert store.lookup("org/one:main") is None
    assert not store.has(one.files[0].digest)
    assert store.snapshot(one) is None
    assert not (store.hub / "models--org--one").exists()
    assert store.snapshot(other) is not None
    assert not huggingface_hub.scan_cache_dir(store.hub).warnings


def test_removing_one_of_two_references_keeps_the_artifact(store: Store) -> None:
    one = model(store, "one")
    store.record(one, "org/one:v1")
    assert store.remove("org/one:main").artifacts == ()
    assert store.lookup("org/one:v1") == one
    assert store.snapshot(one) is not None


@pytest.mark.parametrize("by", ["digest", "reference"])
def test_an_artifact_can_be_removed_by_what_it_is(store: Store, by: str) -> None:
    one = model(store, "one")
    store.record(one, "org/one:v1")
    assert store.remove(getattr(one, by)).artifacts == (one.digest,)
    assert store.artifacts() == []


def test_removing_the_unknown_says_so(store: Store) -> None:
    with pytest.raises(NotFound, match="org/none:main is not in the store"):
        store.remove("org/none:main")


def test_leased_blobs_outlive_their_artifact(store: Store) -> None:
    one = model(store, "one")
    with store.lease([one.files[0].digest]):
        store.remove("org/one:main")
        assert store.has(one.files[0].digest)
        assert not store.has(one.files[1].digest)


def test_snapshots_of_others_in_the_same_repository_stay(store: Store) -> None:
    """A revision that huggingface_hub laid out by symlinks into blobs we linked."""
    one = model(store, "one")
    repository = store.hub / "models--org--one"
    theirs = repository / "snapshots" / ("7" * 40)
    theirs.mkdir()
    name = one.files[0].digest.partition(":")[2]
    (theirs / "own.bin").symlink_to(f"../../blobs/{name}")
    (repository / "refs" / "other").write_text("7" * 40)
    freed = store.remove("org/one:main")
    assert (theirs / "own.bin").stat().st_size == 200 * KIB
    assert freed.bytes_freed < 200 * KIB  # their link keeps the bytes
    assert not huggingface_hub.scan_cache_dir(store.hub).warnings


def test_what_a_dead_process_left_does_not_make_a_repository_corrupt(store: Store, clock: Clock) -> None:
    """A folder without snapshots but with files is corrupt to huggingface_hub."""
    artifact = model(store, "one")
    store.materialise(artifact)
    repository = store.hub / "models--org--one"
    left = repository / ".building" / "left"
    left.write_bytes(b"x")
    store.remove("org/one:main")
    assert left.exists()
    assert not huggingface_hub.scan_cache_dir(store.hub).warnings
    clock.now = left.stat().st_mtime + 2 * DAY
    store.gc()
    assert not repository.exists()


def test_blobs_shared_by_two_revisions_stay_in_the_hub(store: Store) -> None:
    model(store, "one")
    files = {"own.bin": b"new", "shared.bin": SHARED}
    newer = artifact_of(files, repo_id="org/one", revision="6" * 40)
    pull(store, newer, files, reference="org/one:newer")
    store.materialise(newer)
    store.remove("org/one:main")
    assert store.snapshot(newer) is not None
    assert (store.hub / "models--org--one" / "blobs" / newer.files[1].digest.partition(":")[2]).exists()
    assert not huggingface_hub.scan_cache_dir(store.hub).warnings


def test_removing_what_a_user_deleted_by_hand(store: Store) -> None:
    one = model(store, "one")
    shutil.rmtree(store.hub / "models--org--one")
    store.remove("org/one:main")
    assert not store.has(one.files[0].digest)


# --- gc ---


def test_collecting_all_the_while_loses_nothing_new(store: Store) -> None:
    """An alias is written before its blob has its name; the collector must not take it for a dangling one."""
    stop = threading.Event()
    other = Store.open(store.root)

    def collect() -> None:
        while not stop.is_set():
            other.gc()

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for seed in range(150):
            data = b"shard %d" % seed
            with store.lease([digest_of(data, "git-sha1")]):
                put(store, data, "git-sha1")
                assert store.has(digest_of(data, "git-sha1"))
    finally:
        stop.set()
        thread.join()
        other.close()


def test_orphans_go_when_old(store: Store, clock: Clock) -> None:
    put(store, b"orphan", "git-sha1")
    assert store.gc().blobs == 0
    clock.now += ORPHAN_AGE + 1
    assert store.gc(dry_run=True).blobs == 1
    assert store.has(digest_of(b"orphan"))
    assert store.gc().blobs == 1
    assert not store.has(digest_of(b"orphan"))
    assert not list((store.root / "aliases" / "git-sha1").iterdir())


def test_an_orphan_stored_again_is_new(store: Store, clock: Clock) -> None:
    store.put_bytes(b"orphan")
    clock.now += ORPHAN_AGE + 1
    store.put_bytes(b"orphan")
    assert store.gc().blobs == 0


def test_leased_orphans_stay_by_any_of_their_digests(store: Store, clock: Clock) -> None:
    put(store, b"orphan", "git-sha1")
    clock.now += ORPHAN_AGE + 1
    with store.lease([digest_of(b"orphan", "git-sha1")]):
        assert store.gc().blobs == 0
    assert store.gc().blobs == 1


def test_recorded_blobs_are_no_orphans(store: Store, clock: Clock) -> None:
    one = model(store, "one")
    clock.now += 365 * DAY
    report = store.gc()
    assert (report.blobs, report.artifacts) == (0, ())
    assert store.snapshot(one) is not None


def test_stale_partials_go_unless_open_or_leased(store: Store, clock: Clock) -> None:
    data = [content(200 * KIB, seed=seed) for seed in range(3)]
    opened = [store.begin(shard_of(each), 64 * KIB) for each in data]
    for partial, each in zip(opened, data, strict=True):
        receive(partial, each, [0])
    opened[0].close()
    opened[1].close()
    clock.now += PARTIAL_AGE - DAY
    assert store.gc().partials == 0
    clock.now += 2 * DAY
    with store.lease([digest_of(data[1])]):
        assert store.gc(dry_run=True).partials == 1
        report = store.gc()
    assert report.partials == 1
    assert report.bytes_freed >= 64 * KIB  # small files are sparse
    assert opened[2].have()
    opened[2].close()
    left = {path.name for path in (store.root / "partial").iterdir()}
    assert left == {digest_of(each).replace(":", "-") for each in data[1:]}


def test_scratch_of_dead_processes_goes(store: Store, clock: Clock) -> None:
    one = model(store, "one")
    (store.root / "tmp" / "left").write_bytes(b"x")
    building = store.hub / "models--org--one" / ".building" / f"{one.revision}.left"
    building.mkdir()
    (building / "file").write_bytes(b"x")
    assert store.gc().scratch == 0
    clock.now += DAY + 1
    assert store.gc(dry_run=True).scratch == 2
    assert building.exists()
    assert store.gc().scratch == 2
    assert not building.exists()
    assert not (store.root / "tmp" / "left").exists()


def test_age_removes_the_unused(store: Store, clock: Clock) -> None:
    old, used, pinned, leased = (model(store, name) for name in ("old", "used", "pinned", "leased"))
    store.pin("org/pinned:main")
    clock.now += 10 * DAY
    store.snapshot(used)
    with store.lease([leased.files[0].digest]):
        planned = store.gc(max_age=5 * DAY, dry_run=True)
        done = store.gc(max_age=5 * DAY)
    assert planned == done
    assert done.artifacts == (old,)
    assert all(store.snapshot(artifact) for artifact in (used, pinned, leased))


def test_space_is_made_from_the_least_recently_used(store: Store, clock: Clock) -> None:
    names = ("first", "second", "third")
    first, second, third = (model(store, name) for name in names)
    for artifact in (second, first, third):
        clock.now += DAY
        store.snapshot(artifact)
    free, report = -1, None
    while free != free_bytes(store.root):  # others write to this disk too
        free = free_bytes(store.root)
        report = store.gc(target_free=free + 150 * KIB, dry_run=True)
    assert report is not None
    assert report.artifacts == (second,)
    assert store.gc(target_free=0).artifacts == ()
    everything = store.gc(target_free=1 << 60)
    assert everything.artifacts == (second, first, third)
    assert everything.blobs == 4
    assert store.artifacts() == []
    assert not list((store.root / "blobs" / "sha256").glob("*/*"))


def test_artifacts_that_free_nothing_are_not_evicted(store: Store) -> None:
    files = {"shared.bin": SHARED}
    small = artifact_of(files, repo_id="org/small")
    pull(store, small, files, reference="org/small:main")
    model(store, "pinned")
    store.pin("org/pinned:main")
    assert store.gc(target_free=1 << 60).artifacts == ()


def test_unpinned_models_may_go_again(store: Store) -> None:
    one = model(store, "one")
    store.pin("org/one:main")
    assert [stored.pinned for stored in store.artifacts()] == [True]
    assert store.gc(target_free=1 << 60).artifacts == ()
    store.unpin("org/one:main")
    assert store.gc(target_free=1 << 60).artifacts == (one,)


def test_unpacked_archives_count_as_freed(store: Store) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("weights.bin")
        member.size = 400 * KIB
        tar.addfile(member, io.BytesIO(content(400 * KIB)))
    files = {"weights.tar": packed.getvalue()}
    artifact = artifact_of(files, encodings={"weights.tar": "tar"})
    pull(store, artifact, files)
    store.materialise(artifact)
    planned = store.gc(target_free=1 << 60, dry_run=True)
    assert planned.bytes_freed >= 800 * KIB
    assert store.gc(target_free=1 << 60) == planned


def test_missing_bytes_count_what_a_pull_still_needs(store: Store) -> None:
    data = content(3 << 20)
    files = {"big.bin": data, "here.bin": SHARED, "code.tar": b"t" * 100}
    artifact = artifact_of(files, encodings={"code.tar": "tar"})
    put(store, SHARED)
    assert store.missing_bytes(artifact) == len(data) + 100
    with store.reserve(store.missing_bytes(artifact)) as reservation:
        partial = store.begin(shard_of(data), 1 << 20)
        assert reservation.outstanding == 100  # the big shard's blocks are allocated, and counted once
        receive(partial, data, [0])
        partial.close()
    assert store.missing_bytes(artifact) == 100
    assert {path.name for path in (store.root / "live").iterdir()} == {"gate", "reserving"}
