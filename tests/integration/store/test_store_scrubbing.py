"""What a round of scrubbing reads, what it finds, and what stays for whoever has a damaged file open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modeldist.agent.store import Store
from tests.integration.store.made_models import KIB, artifact_of, content, pull

FILES = {"config.json": b"{}", "weights.bin": content(300 * KIB), "odd.bin": content(5 * KIB + 3, seed=1)}
ARTIFACT = artifact_of(FILES, kinds={"config.json": "git-sha1", "odd.bin": "etag"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "store")
    pull(store, ARTIFACT, FILES)
    store.materialise(ARTIFACT)
    return store


def go_round(store: Store) -> list[str]:
    """What was wrong, by the path in the model."""
    found = []
    scrubber = store.scrubber
    scrubber.begin()
    for target in scrubber.left():
        read: list[int] = []
        flaw, inode = scrubber.check(target, read.append)
        if flaw is not None and inode is not None and scrubber.withdraw(target, inode):
            found.append(f"{scrubber.names(target)[0]}: {flaw}")
        scrubber.passed(target, sum(read), damaged=flaw is not None)
    scrubber.end()
    return found


def test_all_is_read_once(store: Store) -> None:
    store.put_bytes(b"of no model")
    assert go_round(store) == []
    done = store.scrubber.round
    assert (done.shards, done.bytes, done.damaged) == (4, sum(map(len, FILES.values())) + 11, 0)
    assert store.scrubber.bytes() == done.bytes


def test_what_lies_among_shards_and_is_none_is_left_alone(store: Store) -> None:
    """Above all a pipe, which nobody would ever come back from reading."""
    folder = store.path(ARTIFACT.files[1].digest)
    assert folder is not None
    os.mkfifo(folder.with_name("f" * 64))
    folder.with_name("d" * 64).mkdir()
    folder.with_name("e" * 64).symlink_to("nothing")
    folder.with_name(".nfs0001").write_bytes(b"removed, and open elsewhere")
    assert go_round(store) == []
    assert store.scrubber.round.shards == 3
    assert not store.audit().damages
    assert {path.name[0] for path in folder.parent.iterdir()} >= {"f", "d", "e", "."}


def test_damage_is_withdrawn_and_remembered(store: Store) -> None:
    path = store.path(ARTIFACT.files[1].digest)
    assert path is not None
    path.chmod(0o600)
    with path.open("r+b", buffering=0) as file:
        file.write(b"damaged")
        assert go_round(store) == ["weights.bin: content"]
        assert len(file.read()) == len(FILES["weights.bin"]) - 7, "who has it open keeps it"
    assert not path.exists()
    assert store.snapshot(ARTIFACT) is None
    again = Store.open(store.root)
    assert again.scrubber.round.wanting == (ARTIFACT.digest,)
    assert again.scrubber.round.damaged == 1
    again.scrubber.mended(ARTIFACT.digest)
    assert Store.open(store.root).scrubber.round.wanting == ()


def test_a_file_that_came_in_its_place_is_not_withdrawn(store: Store) -> None:
    target = next(each for each in store.scrubber.left() if each.digest == ARTIFACT.files[1].digest)
    held = target.path.open("rb")  # or the next file might get its inode
    target.path.chmod(0o600)
    target.path.write_bytes(b"damaged")
    flaw, inode = store.scrubber.check(target, lambda _: None)
    assert flaw == "content"
    assert inode is not None
    store.remove_damaged(store.audit())
    pull(store, ARTIFACT, FILES)
    assert not store.scrubber.withdraw(target, inode)
    assert store.has(ARTIFACT.files[1].digest)
    held.close()


def test_one_that_was_removed_meanwhile_is_nothing_to_tell(store: Store) -> None:
    targets = list(store.scrubber.left())
    store.remove("org/model:main")
    assert {store.scrubber.check(target, lambda _: None)[1] for target in targets} == {None}
