"""Rules for layers that are archives: that they can be unpacked, and that they would come out the same again.

An uncompressed archive is read by ranges, header by header; a compressed one has to be streamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from modelpack.deviations import CONFIG_BLOB, pointer_to
from modelpack.errors import InvalidTar, UnsafeName
from modelpack.filekinds import kind_of
from modelpack.imagelayers import Select, unpacking_order
from modelpack.lint.files import Archive, ModelledFile, Unreadable
from modelpack.lint.findings import Findings
from modelpack.lint.weights import is_weight
from modelpack.names import NameSet
from modelpack.safetensors_header import ReadRange
from modelpack.tarlayer import DEFAULT_LIMITS, checked_entries
from modelpack.tarsource import TarSource, open_tar
from modelpack.tarstream import CHUNK, Readable, TarEntry, TarStream

_AHEAD = 64 * 1024  # bytes of one ranged read; several small files and their headers
_KEPT = 32 * 1024 * 1024  # bytes of a file in a compressed archive that are kept to be looked into
_PLATFORM_KEYS = ("SCHILY.", "LIBARCHIVE.", "RHT.", "MSWINDOWS.", "atime", "ctime")
_PLATFORM_NAMES = (".DS_Store", "__MACOSX", "Thumbs.db")


def check_archives(
    archives: Sequence[Archive],
    names: NameSet,
    diff_ids: Sequence[str],
    findings: Findings,
    *,
    reproducible: bool,
) -> Iterator[ModelledFile]:
    """The files in them. `names` holds those of the raw layers, `diff_ids` what the config says of all layers, or
    nothing; `reproducible`: the rules for tar layers of a ModelPack apply."""
    for number, select in unpacking_order([archive.subtree for archive in archives]):
        archive = archives[number]
        if archive.encoding != "tar" and archive.open is None:
            message = f"Layer {archive.layer} ({archive.path[:120]!r}) is {archive.encoding} of {archive.size} bytes."
            findings.add("archive-not-read", message, path=archive.path, layer=archive.layer)
            continue
        made = _Made()
        try:
            yield from _members(archive, names, select, made)
        except InvalidTar as problem:
            _report("archive-invalid", archive, problem.message, findings)
        except UnsafeName as problem:
            _report("name-unsafe", archive, problem.message, findings)
        except Unreadable:
            continue
        _check_diff_id(archive, made, diff_ids, findings)
        if reproducible:
            _check_made(archive, made, findings)


def _report(name: str, archive: Archive, problem: str, findings: Findings) -> None:
    message = f"In layer {archive.layer} ({archive.path[:120]!r}): {problem}"
    findings.add(name, message, path=archive.path, layer=archive.layer)


@dataclass
class _Made:
    """How an archive was made."""

    names: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    times: set[bytes] = field(default_factory=set)
    owners: set[bytes] = field(default_factory=set)
    users: set[bytes] = field(default_factory=set)
    platform: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    diff_id: str = ""  # of a compressed archive that was read to its end

    def note(self, entry: TarEntry, header: bytes, keywords: frozenset[str]) -> None:
        self.names.append(entry.name)
        if entry.type == "file":
            self.files.append(entry.name)
        self.times.add(header[136:148].strip(b" \0"))
        self.owners.add(header[108:116].strip(b" \0") + b":" + header[116:124].strip(b" \0"))
        self.users.add(header[265:297].strip(b"\0"))
        fields = (header[100:108], header[108:116], header[116:124], header[136:148])
        if not all(part.strip(b" \0") for part in fields):
            self.incomplete.append(entry.name)
        last = entry.name.rpartition("/")[2]
        foreign = [key for key in keywords if key.startswith(_PLATFORM_KEYS)]
        if foreign or last.startswith("._") or any(part in _PLATFORM_NAMES for part in entry.name.split("/")):
            self.platform.append(entry.name)


def _members(archive: Archive, names: NameSet, select: Select, made: _Made) -> Iterator[ModelledFile]:
    with ExitStack() as stack:
        source: Readable
        if archive.encoding == "tar":
            source = _Ranged(archive.read_range, archive.size)
        else:
            assert archive.open is not None
            blob = stack.enter_context(archive.open())
            source = stack.enter_context(open_tar(blob, archive.encoding, DEFAULT_LIMITS))
        stream = TarStream(source)
        for entry in checked_entries(stream, DEFAULT_LIMITS, True, names, select):
            made.note(entry, stream.header, stream.keywords)
            if entry.type != "file":
                continue
            last = entry.name.rpartition("/")[2]
            kind = kind_of(last, entry.size) if archive.subtree else archive.kind
            read: ReadRange | None = None
            if isinstance(source, _Ranged):
                read = _within(archive.read_range, source.position)
            elif is_weight(last) or last.endswith(".index.json"):
                read = _from_memory(_first_bytes(stream), entry.size)
            yield ModelledFile(entry.name, kind, entry.size, read, archive.layer)
        if isinstance(source, TarSource):
            made.diff_id = source.diff_id


def _within(read_range: ReadRange, offset: int) -> ReadRange:
    return lambda start, length: read_range(offset + start, length)


def _first_bytes(stream: TarStream) -> bytes:
    kept = bytearray()
    for piece in stream.body():
        kept += piece
        if len(kept) >= _KEPT:
            break
    return bytes(kept)


def _from_memory(kept: bytes, size: int) -> ReadRange | None:
    """None where a header may go on beyond what was kept."""
    if len(kept) < size and int.from_bytes(kept[:8], "little") + 8 > len(kept):
        return None
    return lambda start, length: kept[start : start + length]


class _Ranged:
    """Reads an uncompressed archive by ranges, a little ahead, and skips what is not asked for."""

    def __init__(self, read_range: ReadRange, size: int) -> None:
        self._read_range = read_range
        self._size = size
        self._ahead = b""
        self._ahead_at = 0
        self.position = 0

    def read(self, size: int, /) -> bytes:
        size = min(size, self._size - self.position, CHUNK)
        if size <= 0:
            return b""
        start = self.position - self._ahead_at
        if not 0 <= start <= start + size <= len(self._ahead):
            self._ahead_at = self.position
            self._ahead = self._read_range(self.position, min(max(size, _AHEAD), self._size - self.position))
            start = 0
        data = self._ahead[start : start + size]
        self.position += len(data)
        return data

    def skip(self, size: int) -> None:
        if self.position + size > self._size:
            raise InvalidTar("The archive ends in the middle of a file.")
        self.position += size


def _check_diff_id(archive: Archive, made: _Made, diff_ids: Sequence[str], findings: Findings) -> None:
    promised = diff_ids[archive.layer] if archive.layer < len(diff_ids) else ""
    if made.diff_id and promised.startswith("sha256:") and promised != made.diff_id:
        message = f"Layer {archive.layer} unpacks to {made.diff_id} and the model config says {promised}."
        where = CONFIG_BLOB + pointer_to("modelfs", "diffIds", archive.layer)
        findings.add("diff-id-mismatch", message, path=archive.path, pointer=where, layer=archive.layer)


def _check_made(archive: Archive, made: _Made, findings: Findings) -> None:
    def add(name: str, problem: str) -> None:
        message = f"Layer {archive.layer} ({archive.path[:120]!r}): {problem}"
        findings.add(name, message, path=archive.path, layer=archive.layer)

    weights = [name for name in made.files if is_weight(name.rpartition("/")[2])]
    if archive.kind == "weight" and len(weights) > 1:
        add("weights-together", f"{len(weights)} weight files are in one archive, {weights[0][:120]!r} among them.")
    if made.names not in (sorted(made.names), sorted(made.names, key=lambda name: name.split("/"))):
        add("archive-order", "the entries are not in lexicographic order.")
    if len(made.times) > 1:
        add("archive-times", f"the entries have {len(made.times)} different times.")
    if len(made.owners) > 1 or made.users - {b""}:
        names = ", ".join(sorted(repr(user.decode(errors="replace")) for user in made.users - {b""})[:3])
        add("archive-owners", f"the entries name the users {names}." if names else "the entries have several owners.")
    if made.platform:
        add("archive-platform", f"{made.platform[0][:120]!r} has or is metadata of one platform.")
    if made.incomplete:
        add("archive-metadata-missing", f"{made.incomplete[0][:120]!r} lacks its time, owner or mode.")
    label = archive.path.rpartition("/")[2]
    # a label without a suffix is that of a category of files, as AIKit writes it, or of a directory
    named = "." in label and not label.startswith(f"{archive.kind}-")
    if len(made.files) == 1 and named and made.files[0].rpartition("/")[2] != label:
        add("archive-name", f"its one file is {made.files[0][:120]!r}.")
