"""Reading a tar front to back: ustar, GNU long names and pax, as a stream, refusing what is damaged or ambiguous.

The standard library's reader takes a damaged header for the end of the archive and holds extension headers of any
size in memory; both are wrong for archives from strangers. Formats: POSIX.1-2017 pax, GNU tar manual appendix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from modelpack.errors import InvalidTar

BLOCK = 512
CHUNK = 1024 * 1024
MAX_EXTENSION = 1024 * 1024  # bytes of one pax or long-name header
MAX_EXTENSIONS = 128 * 1024 * 1024  # bytes of all of them: 100,000 entries of more than a kilobyte each
MAX_PATH = 4095  # bytes of a name or a link's target, PATH_MAX of Linux without its NUL
MAX_RECORDS = 500_000  # of all pax headers: the same entries with five each

EntryType = Literal["file", "directory", "symlink", "hardlink", "special"]

_TYPES: dict[bytes, EntryType] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"5": "directory",
    b"3": "special",
    b"4": "special",
    b"6": "special",
}


class Readable(Protocol):
    """May have a method `skip(size)` that raises InvalidTar where there are fewer bytes."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One member as the archive names it. `size` in bytes (0 but for files); `target` of links only."""

    name: str
    type: EntryType
    size: int
    mode: int
    target: str = ""


class TarStream:
    """Iterate for entries; read `body()` of a file before going on, or it is skipped. Raises InvalidTar."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._left = 0  # bytes of the current body
        self._padding = 0
        self._extensions = 0  # bytes of extension headers so far
        self._records = 0
        self.header = b""  # of the entry given last, for those who want to know more of it …
        self.keywords: frozenset[str] = frozenset()  # … and the keys of its pax header

    def __iter__(self) -> Iterator[TarEntry]:
        extended: dict[str, str] = {}
        while (header := self._header()) is not None:
            kind = header[156:157]
            if kind in (b"x", b"g", b"L", b"K"):
                extended |= self._extension(kind, header)
                continue
            entry = _entry(header, extended)
            extended = {}
            self.header = header
            self._expect(entry.size)
            yield entry
            self._pass_over()
            self.keywords = frozenset()

    def body(self) -> Iterator[bytes]:
        """The rest of the current file in pieces of at most 1 MiB."""
        while self._left:
            piece = self._source.read(min(self._left, CHUNK))
            if not piece:
                raise InvalidTar("The archive ends in the middle of a file.")
            self._left -= len(piece)
            yield piece

    def _pass_over(self) -> None:
        """What is left of the body, and its padding; a source that can skip does."""
        if skip := getattr(self._source, "skip", None):
            skip(self._left + self._padding)
            self._left = 0
            return
        for _ in self.body():
            pass
        self._exactly(self._padding)

    def _expect(self, size: int) -> None:
        self._left = size
        self._padding = -size % BLOCK

    def _exactly(self, size: int) -> bytes:
        self._left = size
        return b"".join(self.body())

    def _header(self) -> bytes | None:
        """The next header; None after the last entry, when the rest of the archive is read and found to be zeros."""
        block = self._block()
        if not block:
            raise InvalidTar("The archive ends without its end marker, so a part of it may be missing.")
        if any(block):
            _check_sum(block)
            return block
        while block:
            if any(block):
                raise InvalidTar("The archive has data after its end.")
            block = self._source.read(CHUNK)
        return None

    def _block(self) -> bytes:
        """512 bytes, or none at the end of the stream."""
        block = b""
        while len(block) < BLOCK:
            piece = self._source.read(BLOCK - len(block))
            if not piece and block:
                raise InvalidTar("The archive ends in the middle of a header.")
            if not piece:
                break
            block += piece
        return block

    def _extension(self, kind: bytes, header: bytes) -> dict[str, str]:
        size = _number(header[124:136], "size")
        if size > MAX_EXTENSION:
            raise InvalidTar(f"The archive has an extension header of {size} bytes; at most {MAX_EXTENSION} are read.")
        self._extensions += BLOCK + size
        if self._extensions > MAX_EXTENSIONS:
            raise InvalidTar(f"The archive has more than {MAX_EXTENSIONS} bytes of extension headers.")
        data = self._exactly(size)
        self._exactly(-size % BLOCK)
        if kind in (b"L", b"K"):
            return {"path" if kind == b"L" else "linkpath": _text(data)}
        records = self._pax_records(data)
        if kind == b"x":
            self.keywords |= records.keys()
        if any(key.startswith("GNU.sparse") for key in records):
            raise InvalidTar("The archive holds a sparse file.")
        known = {key: value for key, value in records.items() if key in ("path", "linkpath", "size")}
        if kind == b"g" and known:
            raise InvalidTar(f"The archive sets {sorted(known)} for all its entries at once.")
        return known

    def _pax_records(self, data: bytes) -> dict[str, str]:
        """`<length> <key>=<value>\\n`, the length counting the whole record."""
        records: dict[str, str] = {}
        start = 0
        while start < len(data):
            self._records += 1
            if self._records > MAX_RECORDS:
                raise InvalidTar(f"The archive has more than {MAX_RECORDS} records in its pax headers.")
            digits, space, _ = data[start : start + 20].partition(b" ")
            end = start + (int(digits) if space and digits.isdigit() else 0)
            key, equals, value = data[start + len(digits) + 1 : end - 1].partition(b"=")
            if not equals or data[end - 1 : end] != b"\n" or b"\0" in key + value:
                raise InvalidTar("The archive has a damaged pax header.")
            try:
                records[key.decode()] = value.decode()
            except UnicodeDecodeError:
                raise InvalidTar("The archive has a pax header that is not UTF-8.") from None
            start = end
        return records


def _entry(header: bytes, extended: dict[str, str]) -> TarEntry:
    kind = _TYPES.get(header[156:157])
    if kind is None:
        raise InvalidTar(f"The archive has an entry of unknown type {header[156:157]!r}.")
    name = extended.get("path") or _header_name(header)
    if header[156:157] == b"\0" and name.endswith("/"):
        kind = "directory"  # before POSIX had a type for it
    size = 0
    if kind == "file":
        size = _decimal(extended["size"]) if "size" in extended else _number(header[124:136], "size")
    target = ""
    if kind in ("symlink", "hardlink"):
        target = extended.get("linkpath") or _text(header[157:257])
    for text in (name, target):
        if len(text.encode()) > MAX_PATH:
            raise InvalidTar(f"The archive has a name of more than {MAX_PATH} bytes: {text[:80]!r}…")
    return TarEntry(name, kind, size, _number(header[100:108], "mode") & 0o7777, target)


def _header_name(header: bytes) -> str:
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    try:
        return field.partition(b"\0")[0].decode()
    except UnicodeDecodeError:
        raise InvalidTar(f"The archive has the name {field[:80]!r}, which is not UTF-8.") from None


def _number(field: bytes, what: str) -> int:
    """Octal digits, or binary when the first bit is set (GNU). Never negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if any(digit not in b"01234567" for digit in digits):
        raise InvalidTar(f"The archive has an entry whose {what} is {field!r}.")
    return int(digits or b"0", 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidTar(f"The archive has an entry whose size is {text[:40]!r}.")
    return int(text)


def _check_sum(header: bytes) -> None:
    promised = _number(header[148:156], "checksum")
    others = header[:148] + b" " * 8 + header[156:]
    if promised != sum(others):
        raise InvalidTar("The archive has a damaged header, or is no tar.")
