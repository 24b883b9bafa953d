"""File names as a set, against a slow model of what file systems do to names."""

from __future__ import annotations

import tempfile
import unicodedata
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelpack.errors import UnsafeName
from modelpack.names import MAX_NAME, MAX_PART, NameSet, check_names
from tests.fuzz.targets.names import create
from tests.refusals import value_of

# Letters that meet when folded, marks that change places, what is not seen, and what is forbidden.
signs = st.sampled_from("aAkK\u212aßſsS.. /\\\0\n\u0301\u0345\u0348éɑαάι\u00ad\u200d\ufe0f\u0378")
names = st.text(signs, max_size=5)


def is_wrong(name: str) -> bool:
    parts = name.split("/")
    return (
        any(part in ("", ".", "..") or len(part.encode(errors="replace")) > MAX_PART for part in parts)
        or len(name.encode(errors="replace")) > MAX_NAME
        or any(unicodedata.category(sign) in ("Cc", "Cs") or sign == "\\" for sign in name)
        or any(not part.strip("\u00ad\u200d\ufe0f") for part in parts)
    )


def seen_as(part: str) -> set[str]:
    """The names under which file systems know `part`: as it is, without case, what is unseen, or a tail."""
    forms = {part}
    for _ in range(4):  # until nothing is new: each way may make room for another
        for form in list(forms):
            shown = "".join(sign for sign in form if sign not in "\u00ad\u200d\ufe0f")
            decomposed = unicodedata.normalize("NFD", form)
            forms |= {decomposed, decomposed.casefold(), unicodedata.normalize("NFC", form), shown}
            forms.add(form.rstrip(". ") or form)
    return forms


def collide(one: str, other: str) -> bool:
    """Whether the two cannot both be files somewhere: equal, or one a directory of the other."""
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    return all(seen_as(first) & seen_as(second) for first, second in pairs)


@given(st.lists(names, max_size=4))
@example(["α\u0348ι", "α\u0348\u0345"])
@example(["a", "a./b"])
@example(["a\u200db", "ab"])
def test_a_set_passes_when_the_model_lets_it(files):
    refused = any(map(is_wrong, files)) or any(collide(one, other) for one, other in combinations(files, 2))
    assert (value_of(lambda: _passes(files)) is None) == refused
    if not refused:
        with tempfile.TemporaryDirectory() as room:
            create(Path(room), files)


@given(st.lists(st.tuples(st.booleans(), names), max_size=4))
def test_directories_beside_files(entries):
    """A directory may repeat, and lie above or below others; it is never where a file is."""
    wrong = any(is_wrong(name) for _, name in entries) or any(
        collide(first, second) and (first_file or second_file) and not _beside(first, first_file, second, second_file)
        for (first_file, first), (second_file, second) in combinations(entries, 2)
    )

    def add() -> NameSet:
        found = NameSet()
        for is_file, name in entries:
            (found.add_file if is_file else found.add_directory)(name)
        return found

    assert (value_of(add) is None) == wrong


def _beside(first: str, first_file: bool, second: str, second_file: bool) -> bool:
    """A file in a directory that is named, too."""
    depths = (first.count("/"), second.count("/"))
    return (not first_file and depths[0] < depths[1]) or (not second_file and depths[1] < depths[0])


def _passes(files: list[str]) -> NameSet:
    check_names(files)
    return NameSet()


@pytest.mark.parametrize(
    "files",
    [
        ["notes.", "notes"],
        ["sub. /x", "sub/y"],
        ["ab", "a\u00adb"],
        ["ab", "a\ufe0fb"],
        ["α\u0348ι", "α\u0348\u0345"],
    ],
)
def test_what_fat_ext4_and_hfs_take_for_the_same(files):
    if files == ["sub. /x", "sub/y"]:
        check_names(files)  # two files of one directory, whatever it is called
        files = ["sub. ", "sub/y"]
    with pytest.raises(UnsafeName, match=r"same as|is the file|directory"):
        check_names(files)


@pytest.mark.parametrize("name", ["\u200d", "a/\ufeff/b", "\u00ad\u00ad"])
def test_a_part_in_which_nothing_can_be_seen(name):
    with pytest.raises(UnsafeName, match="nothing can be seen"):
        check_names([name])


def test_dots_alone_are_names():
    check_names(["...", "....", ". .", "a/.../b"])
