"""Sets of file names: what passes can be created, all of it, inside one directory of this machine's file system."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from modelpack.names import NameSet, check_names
from tests.fuzz.target import Target
from tests.refusals import value_of


def seeds() -> Iterator[bytes]:
    for names in (
        ["config.json", "model-00001-of-00002.safetensors", "sub/a", "sub/b/c"],
        ["a", "a/b"],
        ["é", "e\u0301", "STRASSE", "straße"],
        ["../a", "/etc/passwd", "a\\b", "a//b", "./a"],
        ["\u200d", "a\u200db", "ab", "x.", "x"],
    ):
        yield "\n".join(names).encode()


def check(data: bytes) -> None:
    names = [part.decode(errors="surrogateescape") for part in data.split(b"\n")]
    if value_of(partial(_checked, names)) is None:
        return
    with tempfile.TemporaryDirectory() as room:
        create(Path(room), names)


def create(room: Path, names: list[str]) -> None:
    """Make an empty file for each name. Fails when one meets another or leaves `room`."""
    for name in names:
        path = Path(room, name)
        assert os.path.commonpath([room, os.path.normpath(path)]) == str(room)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("x").close()
    assert sorted(path.relative_to(room).as_posix() for path in room.rglob("*") if path.is_file()) == sorted(names)


def _checked(names: list[str]) -> NameSet:
    check_names(names)
    return NameSet()


WORDS = (
    b"/",
    b"\n",
    b".",
    b"..",
    b"./",
    b"\xc2\xad",
    b"\xe2\x80\x8d",
    b"\xcc\x81",
    b"\xc3\xa9",
    b"\xc3\x9f",
    b"\0",
    b" ",
)
TARGET = Target("names", check, seeds, WORDS, longest=1500)
