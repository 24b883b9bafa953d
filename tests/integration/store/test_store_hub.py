"""Snapshots as huggingface_hub sees them, and what becomes of damaged ones."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import msgspec
import pytest
from huggingface_hub.errors import IncompleteSnapshotError

from modeldist.agent.store import Store
from modeldist.artifact import Artifact
from modeldist.errors import IntegrityError, StorageError, StoreNotWritable, UnsafeArtifact
from tests.integration.store.made_models import REVISION, artifact_of, content, pull, put

FILES = {
    "config.json": b'{"model_type": "tiny"}',
    "model.safetensors": content(300_000),
    "1_Pooling/config.json": b"{}",
    "notes/deep/er.txt": b"etagged",
    "empty": b"",
}
KINDS = {"config.json": "git-sha1", "1_Pooling/config.json": "git-sha1", "notes/deep/er.txt": "etag"}
ARTIFACT = artifact_of(FILES, kinds=KINDS)


def archive(members: dict[str, bytes], executable: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o755 if name == executable else 0o644
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def snapshot(store: Store) -> Path:
    pull(store, ARTIFACT, FILES)
    assert store.snapshot(ARTIFACT) is None
    return store.materialise(ARTIFACT)


def check_snapshot(folder: Path, files: dict[str, bytes]) -> None:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == files


def test_huggingface_hub_finds_the_snapshot_offline(store: Store, snapshot: Path) -> None:
    for revision in ("main", REVISION):
        found = huggingface_hub.snapshot_download(
            "org/model", revision=revision, cache_dir=store.hub, local_files_only=True
        )
        assert Path(found) == snapshot
    check_snapshot(snapshot, FILES)
    assert store.snapshot(ARTIFACT) == snapshot


def test_huggingface_hub_finds_single_files(store: Store, snapshot: Path) -> None:
    for name in FILES:
        assert huggingface_hub.try_to_load_from_cache("org/model", name, cache_dir=store.hub) == str(snapshot / name)
        found = huggingface_hub.hf_hub_download("org/model", name, cache_dir=store.hub, local_files_only=True)
        assert found == str(snapshot / name)


def test_scanning_the_cache_finds_nothing_odd(store: Store, snapshot: Path) -> None:
    info = huggingface_hub.scan_cache_dir(store.hub)
    assert not info.warnings
    assert not info.incomplete_files
    (repo,) = info.repos
    assert (repo.repo_id, repo.repo_type, repo.nb_files) == ("org/model", "model", len(FILES))
    (revision,) = repo.revisions
    assert revision.commit_hash == REVISION
    assert revision.refs == {"main"}
    assert revision.snapshot_path == snapshot


def test_tree_lets_huggingface_hub_notice_a_missing_file(store: Store, snapshot: Path) -> None:
    (snapshot / "config.json").unlink()
    with pytest.raises(IncompleteSnapshotError):
        huggingface_hub.snapshot_download("org/model", cache_dir=store.hub, local_files_only=True)


def test_files_are_the_store_s_own_and_read_only(store: Store, snapshot: Path) -> None:
    for file in ARTIFACT.files:
        blob = store.path(file.digest)
        assert blob is not None
        assert (snapshot / file.path).samefile(blob)
        assert (snapshot / file.path).stat().st_mode & 0o777 == 0o444
        assert not (snapshot / file.path).is_symlink()


@pytest.mark.parametrize("damage", ["missing", "short", "folder"])
def test_damage_is_noticed_and_repaired(store: Store, snapshot: Path, damage: str) -> None:
    victim = snapshot / "notes/deep/er.txt"
    victim.unlink()
    if damage == "short":
        victim.write_bytes(b"short")
    elif damage == "folder":
        victim.parent.rmdir()
        victim.parent.parent.rmdir()
    (snapshot / "mine.txt").write_bytes(b"the user's own file")
    assert store.snapshot(ARTIFACT) is None
    assert store.materialise(ARTIFACT) == snapshot
    assert store.snapshot(ARTIFACT) == snapshot
    check_snapshot(snapshot, FILES | {"mine.txt": b"the user's own file"})


def test_a_repair_does_not_follow_a_link_out_of_the_snapshot(store: Store, snapshot: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = snapshot / "1_Pooling"
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere)
    assert store.materialise(ARTIFACT) == snapshot
    assert list(elsewhere.iterdir()) == []
    check_snapshot(snapshot, FILES)


def test_what_is_in_the_way_is_named(store: Store, snapshot: Path) -> None:
    victim = snapshot / "config.json"
    victim.unlink()
    victim.mkdir()
    with pytest.raises(StoreNotWritable, match=f"{victim} is in the way") as refused:
        store.materialise(ARTIFACT)
    assert "Move that away" in refused.value.remedy
    victim.rmdir()
    assert store.materialise(ARTIFACT) == snapshot


def test_damaged_blob_link_of_the_hub_is_repaired(store: Store, snapshot: Path) -> None:
    names = [path.name for path in (store.hub / "models--org--model" / "blobs").iterdir()]
    for path in (store.hub / "models--org--model" / "blobs").iterdir():
        path.unlink()
    (snapshot / "config.json").unlink()
    store.materialise(ARTIFACT)
    assert sorted(names) == sorted(path.name for path in (store.hub / "models--org--model" / "blobs").iterdir())


def test_another_tag_of_the_same_revision_is_one_more_ref(store: Store, snapshot: Path) -> None:
    refs = store.hub / "models--org--model" / "refs"
    for tag in ("refs/pr/1", REVISION, "", ARTIFACT.digest):
        store.materialise(artifact_of(FILES, kinds=KINDS, tag=tag))
    assert {str(path.relative_to(refs)) for path in refs.rglob("*") if path.is_file()} == {"main", "refs/pr/1"}
    assert (refs / "refs/pr/1").read_text() == REVISION
    assert not huggingface_hub.scan_cache_dir(store.hub).warnings


def test_materialising_needs_every_shard(store: Store) -> None:
    put(store, FILES["model.safetensors"])
    with pytest.raises(StorageError, match="not complete"):
        store.materialise(ARTIFACT)
    packed = artifact_of({"code.tar": b"any"}, encodings={"code.tar": "tar"})
    with pytest.raises(StorageError, match="not complete"):
        store.materialise(packed)
    assert not (store.hub / "models--org--model" / "snapshots" / REVISION).exists()


def test_tree_of_huggingface_hub_is_left_alone(store: Store, snapshot: Path) -> None:
    tree = store.hub / "models--org--model" / "trees" / f"{REVISION}.json"
    text = tree.read_text().replace('"files":{', '"files":{"more.bin":{"size":1,"blob_id":"' + "0" * 40 + '"},')
    tree.write_text(text)
    (snapshot / "config.json").unlink()
    store.materialise(ARTIFACT)
    assert tree.read_text() == text


@pytest.mark.parametrize("tree", ["", "{}", '{"format_version": 9, "files": {}}'])
def test_damaged_tree_is_rewritten(store: Store, snapshot: Path, tree: str) -> None:
    path = store.hub / "models--org--model" / "trees" / f"{REVISION}.json"
    path.write_text(tree)
    (snapshot / "config.json").unlink()
    store.materialise(ARTIFACT)
    assert huggingface_hub.snapshot_download("org/model", cache_dir=store.hub, local_files_only=True)
    assert "model.safetensors" in path.read_text()


def test_threads_and_stores_materialise_one_snapshot(store: Store) -> None:
    pull(store, ARTIFACT, FILES)
    other = Store.open(store.root)
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda each=each: found.append(each.materialise(ARTIFACT)))  # type: ignore[misc]
        for each in (store, other, store, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert len(found) == 4
    check_snapshot(found[0], FILES)
    assert not list((store.hub / "models--org--model" / ".building").iterdir())


# --- archives ---

MEMBERS = {"code/run.py": b"print()", "code/lib/__init__.py": b"", "tokenizer.json": b"{}"}
PACKED = {"model.safetensors": FILES["model.safetensors"], "code.tar": archive(MEMBERS, executable="code/run.py")}
PACKED_ARTIFACT = artifact_of(PACKED, encodings={"code.tar": "tar"})


def test_archives_join_the_snapshot(store: Store) -> None:
    pull(store, PACKED_ARTIFACT, PACKED)
    assert store.snapshot(PACKED_ARTIFACT) is None
    folder = store.materialise(PACKED_ARTIFACT)
    check_snapshot(folder, {"model.safetensors": PACKED["model.safetensors"]} | MEMBERS)
    assert store.snapshot(PACKED_ARTIFACT) == folder
    assert (folder / "code/run.py").stat().st_mode & 0o777 == 0o555
    assert (folder / "tokenizer.json").stat().st_mode & 0o777 == 0o444
    assert not huggingface_hub.scan_cache_dir(store.hub).warnings
    assert huggingface_hub.snapshot_download("org/model", cache_dir=store.hub, local_files_only=True) == str(folder)


@pytest.mark.parametrize("victim", ["snapshot", "tree"])
def test_damage_to_unpacked_files_is_noticed(store: Store, victim: str) -> None:
    pull(store, PACKED_ARTIFACT, PACKED)
    folder = store.materialise(PACKED_ARTIFACT)
    if victim == "snapshot":
        (folder / "tokenizer.json").unlink()
    else:
        (store.hub / "models--org--model" / "trees" / f"{REVISION}.json").write_text("{}")
    assert store.snapshot(PACKED_ARTIFACT) is None
    assert store.materialise(PACKED_ARTIFACT) == folder
    assert store.snapshot(PACKED_ARTIFACT) == folder


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"../../escape": b"x"}, UnsafeArtifact),
        ({"/absolute": b"x"}, UnsafeArtifact),
        ({"model.safetensors": b"twice"}, UnsafeArtifact),
    ],
)
def test_hostile_archives_leave_nothing(store: Store, members: dict[str, bytes], expected: type[Exception]) -> None:
    files = {"model.safetensors": b"weights", "bad.tar": archive(members)}
    hostile = artifact_of(files, encodings={"bad.tar": "tar"})
    pull(store, hostile, files)
    with pytest.raises(expected, match=r"bad\.tar"):
        store.materialise(hostile)
    assert store.snapshot(hostile) is None
    assert not list((store.hub / "models--org--model" / "snapshots").iterdir())
    assert not list((store.hub / "models--org--model" / ".building").iterdir())


@pytest.mark.parametrize("size", [0, 1, 1 << 50])
def test_a_manifest_that_lies_about_the_size_of_a_shard_that_is_here(store: Store, snapshot: Path, size: int) -> None:
    lying = msgspec.structs.replace(ARTIFACT.files[1], size=size)
    artifact = msgspec.structs.replace(artifact_of(FILES, revision="6" * 40), files=(lying,))
    with pytest.raises(IntegrityError, match=rf"model\.safetensors .* {size} bytes, .* has 300000"):
        store.materialise(artifact)
    assert store.snapshot(ARTIFACT) == snapshot


def test_damaged_archive_is_an_integrity_error(store: Store) -> None:
    files = {"bad.tar": b"no archive at all" * 100}
    damaged = artifact_of(files, encodings={"bad.tar": "tar+gzip"})
    pull(store, damaged, files)
    with pytest.raises(IntegrityError, match=r"bad\.tar"):
        store.materialise(damaged)


# --- hostile artifacts ---


@pytest.mark.parametrize(
    "artifact",
    [
        artifact_of({"../outside": b"x"}),
        artifact_of({"/absolute": b"x"}),
        artifact_of({"a": b"x", "a/b": b"y"}),
        artifact_of({"a": b"x"}, tag="../../outside"),
        artifact_of({"a": b"x"}, repo_id="../outside"),
        artifact_of({"a": b"x"}, repo_id="org/../outside"),
        artifact_of({"a": b"x"}, revision="../../outside"),
    ],
)
def test_hostile_names_are_refused(store: Store, artifact: Artifact) -> None:
    for file in artifact.files:
        put(store, b"x" if file.path != "a/b" else b"y")
    before = {str(path) for path in store.root.parent.rglob("*outside*")}
    with pytest.raises(UnsafeArtifact):
        store.materialise(artifact)
    assert {str(path) for path in store.root.parent.rglob("*outside*")} == before


# --- a hub on another filesystem ---


@pytest.fixture
def far_hub(store: Store) -> Iterator[Path]:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == store.root.stat().st_dev:
        pytest.skip("needs /dev/shm on a filesystem of its own")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder) / "hub"


def test_hub_on_another_filesystem_has_symlinks(store: Store, far_hub: Path) -> None:
    far = Store.open(store.root, hub=far_hub)
    pull(far, ARTIFACT, FILES)
    folder = far.materialise(ARTIFACT)
    assert folder.is_relative_to(far_hub)
    check_snapshot(folder, FILES)
    assert str((folder / "notes/deep/er.txt").readlink()).startswith("../../../../blobs/")
    assert far.snapshot(ARTIFACT) == folder
    assert not huggingface_hub.scan_cache_dir(far_hub).warnings
    assert huggingface_hub.snapshot_download("org/model", cache_dir=far_hub, local_files_only=True) == str(folder)
    far.remove("org/model:main")
    assert not (far_hub / "models--org--model").exists()
    far.close()
