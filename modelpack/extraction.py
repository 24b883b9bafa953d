"""A model out of a layout as a plain directory: raw layers copied, archives unpacked, every byte verified.

The names of all layers are checked together, whatever unpacks them. The directory appears at once, when all is there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelpack.artifact import ModelFile
from modelpack.deviations import Deviations, Mode
from modelpack.errors import DestinationError, DigestMismatch, UnsupportedArtifact
from modelpack.imagelayers import unpacking_order
from modelpack.layout import OciLayout
from modelpack.names import NameSet
from modelpack.reading import ReadModel, read_model
from modelpack.tarlayer import DEFAULT_LIMITS, extract_tar
from modelpack.tarsource import TarLimits
from modelpack.verify import check_diff_id

_BUFFER = 4 * 1024 * 1024  # bytes
OnFile = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class ExtractedModel:
    """`files`: paths below the directory, links not among them; `size` of them in bytes."""

    digest: str
    files: tuple[str, ...]
    size: int


def extract(
    layout: OciLayout,
    ref: str,
    destination: Path,
    *,
    mode: Mode = "lenient",
    limits: TarLimits = DEFAULT_LIMITS,
    on_file: OnFile | None = None,
) -> ExtractedModel:
    """Write the model `ref` to `destination`, which must be missing or an empty directory.

    Raises DestinationError, every error of reading a model, UnsafeName, InvalidTar, SizeMismatch, DigestMismatch,
    OSError.
    """
    model = read_model(layout, ref, mode=mode)
    tell = on_file or (lambda path, size: None)
    with appearing(destination) as room:
        found = _raw(layout, model, room, tell) | _archives(layout, model, room, mode, limits, tell)
        if not found:
            raise UnsupportedArtifact(f"{ref or layout.path} holds no files.", remedy="Ask its publisher about it.")
    return ExtractedModel(model.descriptor.digest, tuple(sorted(found)), sum(found.values()))


@contextmanager
def appearing(destination: Path) -> Iterator[Path]:
    """A directory beside `destination` that takes its place at the end, or is removed. Raises DestinationError; an
    OSError of the block that says that a disk is full names `destination`."""
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise DestinationError(f"{destination} is there and no directory.", remedy="Name a new directory.")
    if destination.is_dir() and any(destination.iterdir()):
        raise DestinationError(
            f"{destination} is not empty.", remedy="Name a new directory; nothing in one that is there is replaced."
        )
    destination.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}.new-"))
    try:
        room.chmod(0o755)
        yield room
        try:
            room.replace(destination)  # over an empty directory, too; one that is filled meanwhile stays
        except OSError as problem:
            why = problem.strerror or str(problem)
            raise DestinationError(f"{destination} cannot be made: {why}.", remedy="Name another one.") from problem
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT) and problem.filename is None:  # of a write, which names none
            problem.filename = str(destination)
        raise
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _raw(layout: OciLayout, model: ReadModel, room: Path, tell: OnFile) -> dict[str, int]:
    found = {}
    for file in model.artifact.files:
        if file.encoding == "raw":
            target = room / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with layout.blobs.open(file.descriptor) as blob:
                _copy(blob, file, target)
            found[file.path] = file.descriptor.size
            tell(file.path, file.descriptor.size)
    return found


def _copy(blob: BinaryIO, file: ModelFile, target: Path) -> None:
    content = hashlib.new(file.descriptor.digest.partition(":")[0])
    buffer = memoryview(bytearray(min(_BUFFER, max(1, file.descriptor.size))))
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755 if file.executable else 0o644), "wb") as out:
        while count := blob.readinto(buffer):  # type: ignore[attr-defined]
            content.update(buffer[:count])
            out.write(buffer[:count])
    actual = f"{content.name}:{content.hexdigest()}"
    if actual != file.descriptor.digest:
        raise DigestMismatch(
            f"The blob {file.descriptor.digest} of {file.path} has the digest {actual}.",
            remedy="Nothing was written. Fetch the model again.",
        )


def _archives(
    layout: OciLayout, model: ReadModel, room: Path, mode: Mode, limits: TarLimits, tell: OnFile
) -> dict[str, int]:
    names, deviations = NameSet(), Deviations(mode)
    for file in model.artifact.files:
        if file.encoding == "raw":
            names.add_file(file.path)
    archives = [file for file in model.artifact.files if file.encoding != "raw"]
    found = {}
    for number, select in unpacking_order([file.subtree for file in archives]):
        file = archives[number]
        layout.blobs.check(file.descriptor)
        with layout.blobs.open(file.descriptor) as blob:
            unpacked = extract_tar(blob, file.encoding, room, limits=limits, links=True, names=names, select=select)
        check_diff_id(model.artifact, model.manifest, file, unpacked.diff_id, deviations)
        for each in unpacked.files:
            found[each.path] = each.size
            tell(each.path, each.size)
    return found
