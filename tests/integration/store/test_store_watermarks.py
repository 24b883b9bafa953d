"""Who goes when the store is too full for what comes, and who never does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist.agent.store import Evicted, Store
from modeldist.agent.store.room import disk_fill
from modeldist.agent.store.watermarks import Watermarks, watermarks
from modeldist.artifact import Artifact
from modeldist.errors import NotEnoughSpace, UsageError
from tests.integration.store.made_models import KIB, artifact_of, content, pull

EACH = 256 * KIB
MARKS = Watermarks(4 * EACH + 64 * KIB, 3 * EACH + 64 * KIB, of_disk=False)  # four models, or three


class Clock:
    def __init__(self) -> None:
        self.now = time.time() - 86_400

    def __call__(self) -> float:
        self.now += 60
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store", clock=Clock())
    opened.watermarks = MARKS
    yield opened
    opened.close()


def files_of(name: str) -> dict[str, bytes]:
    return {"weights.bin": content(EACH, seed=sum(name.encode()) * 7 + len(name)), "config.json": b"{}"}


def put(store: Store, name: str) -> Artifact:
    artifact = artifact_of(files_of(name), repo_id=f"org/{name}")
    pull(store, artifact, files_of(name), reference=f"org/{name}:main")
    store.materialise(artifact)
    return artifact


def make_room(store: Store, name: str = "new") -> list[Evicted]:
    """What goes for a model that is pulled now."""
    artifact = artifact_of(files_of(name), repo_id=f"org/{name}")
    gone: list[Evicted] = []
    missing = [shard for shard in artifact.shards if not store.has(shard.digest)]
    with (
        store.lease((shard.digest for shard in artifact.shards), artifact.digest),
        store.reserve_for(artifact, missing, evicted=gone.append),
    ):
        pass
    return gone


def here(store: Store) -> set[str]:
    return {stored.artifact.repo_id for stored in store.artifacts() if stored.snapshot is not None}


def test_the_least_recently_used_go_down_to_the_low_mark(store: Store) -> None:
    models = [put(store, name) for name in ("a", "b", "c", "d")]
    assert make_room(store, "d") == [], "it is here already"
    assert store.snapshot(models[0]) is not None  # a use
    gone = make_room(store)
    assert [each.references for each in gone] == [("org/b:main",), ("org/c:main",)]
    assert all(EACH <= each.bytes < EACH + 64 * KIB for each in gone)
    assert here(store) == {"org/a", "org/d"}
    assert make_room(store) == []


def test_a_model_larger_than_the_low_mark_costs_no_more_than_it_must(store: Store) -> None:
    for name in ("a", "b"):
        put(store, name)
    store.watermarks = Watermarks(2 * EACH + 64 * KIB, EACH / 2, of_disk=False)
    assert [each.references for each in make_room(store)] == [("org/a:main",)]


def test_what_other_pulls_have_reserved_counts(store: Store) -> None:
    for name in ("a", "b"):
        put(store, name)
    with store.reserve(2 * EACH):
        assert [each.references for each in make_room(store)] == [("org/a:main",), ("org/b:main",)]


def test_pinned_leased_open_mapped_and_mounted_models_stay(store: Store, tmp_path: Path) -> None:
    pinned, leased, opened, mounted = (put(store, name) for name in ("pinned", "leased", "opened", "mounted"))
    store.pin("org/pinned:main")
    shown = store.root / "mounts" / "there" / "files"
    shown.mkdir(parents=True)
    snapshot = store.snapshot(mounted)
    assert snapshot is not None
    os.link(snapshot / "weights.bin", shown / "weights.bin")
    reader = subprocess.Popen(  # another process, which knows nothing of us, maps the file and closes it
        [sys.executable, "-c", _MAPS, str(store.snapshot(opened))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert reader.stdout is not None and reader.stdout.readline() == b"mapped\n"
    try:
        with store.lease((), leased.digest), pytest.raises(NotEnoughSpace) as refusal:
            make_room(store)
        said = str(refusal.value)
        for name, why in (
            ("pinned", "is pinned"),
            ("leased", "is in use by a pull"),
            ("opened", "is open in a program"),
            ("mounted", "is mounted"),
        ):
            assert (f"org/{name}:main (" in said and why in said) or "more are" in said, said
        assert "above the high watermark" in said
        assert "modeldist unpin org/pinned:main" in refusal.value.remedy
        assert len(here(store)) == 4
    finally:
        reader.communicate()
    assert [each.references[0] for each in make_room(store)] == ["org/leased:main", "org/opened:main"]
    assert here(store) == {"org/pinned", "org/mounted"}
    assert pinned.digest != mounted.digest


_MAPS = """
import mmap, pathlib, sys
with (pathlib.Path(sys.argv[1]) / "weights.bin").open("rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
print("mapped", flush=True)
sys.stdin.read()
"""


def test_nothing_goes_in_vain(store: Store) -> None:
    for name in ("a", "b", "c", "d"):
        put(store, name)
    for name in ("b", "c", "d"):
        store.pin(f"org/{name}:main")
    store.watermarks = Watermarks(3 * EACH, EACH, of_disk=False)
    with pytest.raises(NotEnoughSpace, match="What may go is"):
        make_room(store)
    assert len(here(store)) == 4


def test_twins_that_share_all_they_have_go_together(store: Store) -> None:
    one = put(store, "one")
    twin = artifact_of(files_of("one"), repo_id="org/twin")
    pull(store, twin, files_of("one"), reference="org/twin:main")
    store.materialise(twin)
    put(store, "other")
    store.watermarks = Watermarks(2 * EACH + 64 * KIB, EACH + 64 * KIB, of_disk=False)
    assert {each.references[0] for each in make_room(store)} == {"org/one:main", "org/twin:main", "org/other:main"}
    assert not store.has(one.files[0].digest)


def test_one_that_shares_all_it_has_with_what_stays_does_not_go(store: Store) -> None:
    put(store, "one")
    twin = artifact_of(files_of("one"), repo_id="org/twin")
    pull(store, twin, files_of("one"), reference="org/twin:main")
    store.materialise(twin)
    store.pin("org/twin:main")
    put(store, "other")
    store.watermarks = Watermarks(2 * EACH + 64 * KIB, 2 * EACH, of_disk=False)
    assert [each.references[0] for each in make_room(store)] == ["org/other:main"]


def test_an_older_version_goes_last_though_the_new_one_shares_files_with_it(store: Store) -> None:
    put(store, "model")
    put(store, "younger")
    newer = artifact_of(
        {"weights.bin": content(EACH, seed=7), "config.json": b"{}"}, repo_id="org/model", revision="6" * 40
    )
    gone: list[Evicted] = []
    with store.lease((shard.digest for shard in newer.shards), newer.digest):
        missing = [shard for shard in newer.shards if not store.has(shard.digest)]
        store.watermarks = Watermarks(2 * EACH + 64 * KIB, 2 * EACH + 32 * KIB, of_disk=False)
        store.reserve_for(newer, missing, evicted=gone.append).release()
        assert [each.references[0] for each in gone] == ["org/younger:main"]
        store.watermarks = Watermarks(EACH + 64 * KIB, EACH + 32 * KIB, of_disk=False)
        store.reserve_for(newer, missing, evicted=gone.append).release()
        assert gone[-1].references == ("org/model:main",)
        assert store.has(newer.files[1].digest), "the pull has it already"


def test_a_share_is_of_the_disk_whoever_fills_it(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "modeldist-test", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        store = Store.open(disk / "store", clock=Clock())
        store.watermarks = watermarks("90%", "70%")
        for name in ("a", "b", "c"):
            put(store, name)
        (disk / "others").write_bytes(bytes(2600 * KIB))
        assert 0.8 < disk_fill(disk).used / disk_fill(disk).capacity < 0.9
        assert [each.references[0] for each in make_room(store)] == ["org/a:main", "org/b:main", "org/c:main"]
        (disk / "others").write_bytes(bytes(3500 * KIB))
        with pytest.raises(NotEnoughSpace, match=r"would be \d+% full, above the high watermark \(90%\)"):
            make_room(store)
        store.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("high", "low", "says"),
    [
        ("90%", "95%", "must be below"),
        ("80%", "80%", "must be below"),
        ("500GiB", "600GiB", "must be below"),
        ("90%", "100GB", "cannot be compared"),
        ("", "80%", "without a high one"),
        ("120%", "", "no share of a disk"),
        ("0%", "", "no share of a disk"),
        ("a lot", "", "neither a share nor a size"),
        ("0", "", "neither a share nor a size"),
    ],
)
def test_nonsense_is_refused(high: str, low: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        watermarks(high, low)


def test_marks_as_they_are_written() -> None:
    assert watermarks("", "") is None
    assert watermarks("90%", "80%") == Watermarks(0.9, 0.8, of_disk=True)
    marks = watermarks("500GiB", "")
    assert marks is not None
    assert (marks.high, marks.low) == (500 << 30, (500 << 30) * 0.9)
    assert str(watermarks("90%", "80%")) == "80% to 90%"
