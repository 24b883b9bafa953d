"""Artifacts and references, opening the store, importing files."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from modeldist.agent.store import Store
from modeldist.artifact import Digest
from modeldist.errors import NotFound, StorageError, StoreNotWritable
from tests.integration.store.made_models import KIB, artifact_of, content, digest_of, pull

FILES = {"config.json": b"{}", "model.safetensors": content(300 * KIB)}
ARTIFACT = artifact_of(FILES)


def test_recorded_reference_is_found_by_another_store(store: Store) -> None:
    assert store.lookup("org/model:main") is None
    assert store.checked("org/model:main") is None
    store.record(ARTIFACT, "org/model:main")
    other = Store.open(store.root)
    assert other.lookup("org/model:main") == ARTIFACT
    assert other.artifact(ARTIFACT.digest) == ARTIFACT
    assert other.artifact(digest_of(b"")) is None
    assert other.checked("org/model:main") is not None
    other.close()


def test_names_of_one_artifact_keep_their_own_tag_and_origin(store: Store) -> None:
    mirror = msgspec.structs.replace(
        ARTIFACT, tag="v1", endpoint="https://mirror.example", repository="m/model", repo_id="m/model"
    )
    store.record(ARTIFACT, "org/model:main")
    store.record(mirror, "mirror.example/m/model:v1")
    assert store.lookup("org/model:main") == ARTIFACT
    assert store.lookup("mirror.example/m/model:v1") == mirror
    (stored,) = store.artifacts()
    assert stored.references == ("mirror.example/m/model:v1", "org/model:main")


def test_a_moved_tag_means_the_new_artifact(store: Store) -> None:
    newer = artifact_of(FILES, revision="6" * 40)
    store.record(ARTIFACT, "org/model:main")
    store.record(newer, "org/model:main")
    assert store.lookup("org/model:main") == newer
    assert {stored.artifact.digest: stored.references for stored in store.artifacts()} == {
        ARTIFACT.digest: (),
        newer.digest: ("org/model:main",),
    }


def test_listing_tells_what_is_here(store: Store) -> None:
    store.record(ARTIFACT, "org/model:main")
    (before,) = store.artifacts()
    assert (before.snapshot, before.bytes_on_disk, before.pinned) == (None, 0, False)
    pull(store, ARTIFACT, FILES)
    folder = store.materialise(ARTIFACT)
    (after,) = store.artifacts()
    assert (after.snapshot, after.bytes_on_disk) == (folder, ARTIFACT.size)
    assert after.last_used >= before.last_used
    (folder / "config.json").unlink()
    assert store.artifacts()[0].snapshot is None


def test_materialising_the_unrecorded_records_it(store: Store) -> None:
    pull(store, ARTIFACT, FILES)
    store.materialise(ARTIFACT)
    (store.root / "artifacts" / f"{ARTIFACT.digest.replace(':', '-')}.json").unlink()
    store.materialise(ARTIFACT)
    assert store.artifact(ARTIFACT.digest) == ARTIFACT


def test_damaged_records_count_as_absent(store: Store) -> None:
    store.record(ARTIFACT, "org/model:main")
    for folder in ("artifacts", "refs"):
        for path in (store.root / folder).iterdir():
            path.write_bytes(b"\xff{")
    assert store.lookup("org/model:main") is None
    assert store.artifacts() == []
    store.record(ARTIFACT, "org/model:main")
    assert store.lookup("org/model:main") == ARTIFACT


def test_pinning_the_unknown_says_so(store: Store) -> None:
    with pytest.raises(NotFound, match="org/none:main"):
        store.pin("org/none:main")
    store.unpin("org/none:main")


def test_a_pin_by_content_holds_for_all_references(store: Store) -> None:
    store.record(ARTIFACT, "org/model:main")
    store.record(ARTIFACT, "org/model:v1")
    assert not store.pinned("org/model:main")
    for name in (ARTIFACT.reference, ARTIFACT.digest):
        store.pin(name)
        assert store.pinned("org/model:main")
        store.unpin("org/model:main")
        assert store.pinned("org/model:main")  # by its other name
        assert store.artifacts()[0].pinned
        store.unpin(name)
        assert not store.pinned("org/model:main")
    with pytest.raises(NotFound):
        store.pinned("org/none:main")


# --- blobs ---


def test_bytes_and_files_are_stored_once(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(FILES["model.safetensors"])
    assert store.import_file(source) == digest_of(FILES["model.safetensors"])
    assert store.put_bytes(FILES["model.safetensors"]) == digest_of(FILES["model.safetensors"])
    path = store.path(digest_of(FILES["model.safetensors"]))
    assert path is not None
    assert path.read_bytes() == FILES["model.safetensors"]
    assert not list((store.root / "tmp").iterdir())


def test_importing_a_missing_file_names_it(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        store.import_file(tmp_path / "missing")
    assert not list((store.root / "tmp").iterdir())


@pytest.mark.parametrize("text", [b"", b"sha256:short", b"\xff\xff"])
def test_damaged_aliases_count_as_absent(store: Store, text: bytes) -> None:
    digest = digest_of(b"x", "git-sha1")
    (store.root / "aliases" / "git-sha1" / digest.partition(":")[2]).write_bytes(text)
    assert store.path(digest) is None


# --- opening ---


def test_opening_makes_a_private_root_with_a_stable_node_id(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "deep" / "store")
    assert store.root.stat().st_mode & 0o777 == 0o700
    assert re.fullmatch(r"[0-9a-f]{32}", store.node_id)
    assert store.hub == store.root / "hub"
    again = Store.open(tmp_path / "deep" / "store", hub=tmp_path / "hub")
    assert again.node_id == store.node_id
    assert again.hub == tmp_path / "hub"
    store.close()
    again.close()


@pytest.mark.parametrize("left", [b"", b"\0" * 32, b"\xff\x00garbage"])
def test_what_a_crash_left_of_the_node_id_is_replaced(tmp_path: Path, left: bytes) -> None:
    Store.open(tmp_path / "store").close()
    (tmp_path / "store" / "node-id").write_bytes(left)
    stores = [Store.open(tmp_path / "store") for _ in range(2)]
    assert re.fullmatch(r"[0-9a-f]{32}", stores[0].node_id)
    assert stores[0].node_id == stores[1].node_id
    for store in stores:
        store.close()


@pytest.mark.parametrize("left", [b"", b"\0\0"])
def test_what_a_crash_left_of_the_format_is_replaced(tmp_path: Path, left: bytes) -> None:
    Store.open(tmp_path / "store").close()
    (tmp_path / "store" / "VERSION").write_bytes(left)
    Store.open(tmp_path / "store").close()
    assert (tmp_path / "store" / "VERSION").read_text() == "1\n"


def test_store_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path / "store").close()
    (tmp_path / "store" / "VERSION").write_text("2\n")
    with pytest.raises(StorageError, match="Upgrade modeldist"):
        Store.open(tmp_path / "store")


@pytest.mark.parametrize("root", ["/proc/modeldist", "file/store"])
def test_unwritable_root_is_refused(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError) as failure:
        Store.open(tmp_path / root)
    assert root in str(failure.value)
    assert failure.value.remedy
    if root == "file/store":
        assert isinstance(failure.value, StoreNotWritable)


def test_unknown_digests_are_not_here(store: Store) -> None:
    for kind in ("sha256", "git-sha1", "etag"):
        assert not store.has(Digest(digest_of(b"nothing", kind)))
    assert store.wait_unlocked(digest_of(b"nothing"), 0)
