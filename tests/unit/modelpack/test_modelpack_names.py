"""File names as a set."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import UnsafeName
from modelpack.names import MAX_DIRECTORIES, NameSet, check_name, check_names


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("a\nb", "control"),
        ("a\ud800", "half a character"),
        ("a\\b", "backslash"),
        ("/etc/passwd", "absolute"),
        ("a/", "ends in a slash"),
        ("../a", "leads out"),
        ("a/../b", "leads out"),
        ("..", "leads out"),
        ("a//b", "empty part"),
        ("./a", "only a dot"),
        ("a/./b", "only a dot"),
        ("a" * 256, "255 bytes"),
        ("ä" * 128, "255 bytes"),
        ("a/" * 512 + "b", "1024 bytes"),
    ],
)
def test_a_name_by_itself(name, says):
    with pytest.raises(UnsafeName, match=says) as caught:
        check_names(["fine", name])
    assert repr(name[:200]) in caught.value.message


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["m.bin", "m.bin"], "appears twice"),
        (["README", "readme"], "same as 'README'"),
        ([unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")], "same as"),
        (["Straße", "STRASSE"], "same as"),
        (["a", "a/b"], "its directory is the file 'a'"),
        (["a/b", "a"], "a file here and a directory in 'a/b'"),
        (["A/b/c", "a/B"], "directory in"),
        (["a/b/c", "a/b/c/d/e"], "its directory is the file"),
    ],
)
def test_names_against_each_other(names, says):
    with pytest.raises(UnsafeName, match=says):
        check_names(names)


def test_ordinary_sets_pass():
    check_names(
        ["config.json", "a..b", ".hidden", "sub/model-00001-of-00002.safetensors", "sub/deep/x", "sub2", "日本"]
    )


def test_directories_may_repeat_but_not_be_files():
    names = NameSet()
    names.add_directory("a/b")
    names.add_directory("a/b")
    names.add_file("a/b/c")
    names.add_directory("a")
    with pytest.raises(UnsafeName, match="directory"):
        names.add_file("a/b")
    with pytest.raises(UnsafeName, match="its directory is the file"):
        names.add_directory("a/b/c")


parts = st.text(st.sampled_from("aAbé./\\\0"), max_size=4)


@given(st.lists(st.lists(parts, min_size=1, max_size=3).map("/".join), max_size=6))
def test_a_set_that_passes_can_be_created_inside(names):
    try:
        check_names(names)
    except UnsafeName:
        return
    with tempfile.TemporaryDirectory() as room:
        for name in names:
            path = Path(room, name)
            assert os.path.commonpath([room, os.path.normpath(path)]) == room
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x"):
                pass
        assert sum(path.is_file() for path in Path(room).rglob("*")) == len(names)


def test_one_name():
    check_name("a/b")
    with pytest.raises(UnsafeName):
        check_name("a//b")


def test_directories_are_bounded():
    names = NameSet()
    deep = "/d" * 480
    with pytest.raises(UnsafeName, match="more than 100000 directories"):
        for number in range(MAX_DIRECTORIES):
            names.add_file(f"{number}{deep}/file")
