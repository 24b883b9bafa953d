"""The inodes of a mounted snapshot."""

from __future__ import annotations

import pytest

from modeldist.errors import UnsafeArtifact
from modeldist.mount.tree import ROOT, Entry, tree_of

FILES = [("model.safetensors", 1000, False), ("1_Pooling/config.json", 20, False), ("a/b/run.sh", 3, True)]


def found(path: str) -> Entry:
    tree = tree_of(FILES)
    at = tree.entries[ROOT]
    for part in path.split("/"):
        entry = tree.look_up(at.inode, part)
        assert entry is not None
        at = entry
    return at


def test_files_and_the_folders_of_their_paths_are_found() -> None:
    assert (found("model.safetensors").size, found("model.safetensors").folder) == (1000, False)
    assert found("a/b").folder
    assert (found("a/b/run.sh").name, found("a/b/run.sh").executable) == ("run.sh", True)
    assert found("a/b").parent == found("a").inode


def test_what_is_not_there_is_not_found() -> None:
    tree = tree_of(FILES)
    assert tree.look_up(ROOT, "config.json") is None
    assert tree.look_up(found("model.safetensors").inode, "x") is None
    assert tree.look_up(12345, "x") is None


def test_folders_list_names_in_order() -> None:
    tree = tree_of(FILES)
    assert [entry.name for entry in tree.folder(ROOT)] == ["1_Pooling", "a", "model.safetensors"]
    assert [entry.name for entry in tree.folder(found("a").inode)] == ["b"]


def test_inodes_do_not_depend_on_the_order_of_files() -> None:
    assert tree_of(FILES).entries == tree_of(reversed(FILES)).entries


def test_links_are_counted_as_elsewhere() -> None:
    tree = tree_of(FILES)
    assert tree.links(tree.entries[ROOT]) == 4
    assert tree.links(found("a/b")) == 2
    assert tree.links(found("a/b/run.sh")) == 1


def test_an_empty_artifact_is_an_empty_folder() -> None:
    assert list(tree_of([]).folder(ROOT)) == []


@pytest.mark.parametrize("path", ["", "/etc/passwd", "a//b", "../x", "a/./b", "a/", "a\0b"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(UnsafeArtifact):
        tree_of([(path, 1, False)])


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b")])
def test_paths_that_collide_are_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(UnsafeArtifact):
        tree_of((path, 1, False) for path in paths)
