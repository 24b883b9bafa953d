"""File names as a whole set: what no name may be, and what no two names may be to each other.

Names come from manifests and archives, so from strangers. A set that passes can be created below any directory of
any usual file system without leaving it and without one file replacing another.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

from modelpack.errors import UnsafeName

MAX_PART = 255  # bytes, NAME_MAX of Linux file systems
MAX_DIRECTORIES = 100_000  # of one set; each name could make five hundred
MAX_NAME = 1024  # bytes; PATH_MAX is 4096 and the directory in front needs room
# Default_Ignorable_Code_Point of Unicode 15: left out by ext4 and f2fs where they fold case, and most of it by HFS+.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_TAIL = re.compile(r"(?<=[^/. ])[. ]+(?=/|\Z)")  # which FAT, exFAT and Windows shares leave out
_PLAIN = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")  # nothing wrong with these
_REMEDY = "The artifact is refused as a whole; tell its publisher."


class NameSet:
    """Grows name by name; each is checked against all before it."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}  # folded name -> name as given
        self._directories: dict[str, str] = {}

    def add_file(self, name: str) -> None:
        """Raises UnsafeName when `name` is unsafe or clashes with an earlier name."""
        check_name(name)
        key = _folded(name)
        if key in self._files:
            raise _unsafe(name, _same(name, self._files[key]))
        if key in self._directories:
            raise _unsafe(name, f"it is a file here and a directory in {self._directories[key]!r}")
        self._files[key] = name
        self._add_parents(name, key)

    def add_directory(self, name: str) -> None:
        """A directory of its own, possibly empty; naming it twice is harmless. Raises UnsafeName."""
        check_name(name)
        self._add_parents(name + "/", _folded(name) + "/")

    def _add_parents(self, name: str, key: str) -> None:
        end = key.rfind("/")
        while end > 0:
            parent = key[:end]
            if parent in self._files:
                raise _unsafe(name, f"its directory is the file {self._files[parent]!r}")
            if self._directories.setdefault(parent, name) != name:
                return  # its own parents are in already
            if len(self._directories) > MAX_DIRECTORIES:
                raise _unsafe(name, f"with those before it, it makes more than {MAX_DIRECTORIES} directories")
            end = key.rfind("/", 0, end)


def check_names(files: Iterable[str]) -> None:
    """Check all file names of an artifact together. Raises UnsafeName naming the file and the reason."""
    names = NameSet()
    for name in files:
        names.add_file(name)


def check_name(name: str) -> None:
    """Check one relative, `/`-separated name by itself. Raises UnsafeName."""
    if problem := _problem(name):
        raise _unsafe(name, problem)


def _problem(name: str) -> str:
    if len(name) <= MAX_PART and _PLAIN.fullmatch(name):
        return ""
    for is_wrong, reason in _WHOLE_RULES:
        if is_wrong(name):
            return reason
    return next((reason for part in name.split("/") for is_wrong, reason in _PART_RULES if is_wrong(part)), "")


def _unprintable(name: str) -> bool:
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


_Rules = tuple[tuple[Callable[[str], bool], str], ...]

_WHOLE_RULES: _Rules = (
    (lambda name: not name, "it is empty"),
    (lambda name: "\0" in name, "it contains a NUL character"),
    (_unprintable, "it contains a control character or half a character"),
    (lambda name: "\\" in name, "it contains a backslash"),
    (lambda name: name.startswith("/"), "it is absolute"),
    (lambda name: name.endswith("/"), "it ends in a slash"),
    (lambda name: len(name.encode()) > MAX_NAME, f"it is longer than {MAX_NAME} bytes"),
)
_PART_RULES: _Rules = (
    (lambda part: part == "..", "it leads out of the directory"),
    (lambda part: part in ("", "."), "it has an empty part or a part that is only a dot"),
    (lambda part: not _UNSEEN.sub("", part), "it has a part in which nothing can be seen"),
    (lambda part: len(part.encode()) > MAX_PART, f"a part of it is longer than {MAX_PART} bytes"),
)


def _folded(name: str) -> str:
    """Equal for names that some file system takes for the same: canonical caseless matching (Unicode, D145), without
    what cannot be seen and without dots and spaces at the end of a part."""
    if name.isascii():
        return _TAIL.sub("", name.lower())
    folded = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFD", _TAIL.sub("", _UNSEEN.sub("", folded)))


def _same(name: str, other: str) -> str:
    if name == other:
        return "it appears twice"
    return f"some file systems take it for the same as {other!r}"


def _unsafe(name: str, problem: str) -> UnsafeName:
    return UnsafeName(f"The file name {name[:200]!r} is unsafe: {problem}.", remedy=_REMEDY)
