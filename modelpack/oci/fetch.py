"""Some files of a model in a registry, into a plain directory: nothing else is fetched, every file is verified.

A file that arrived stays, the beginning of one too (`.partial-<name>` beside it): the next fetch goes on from there.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelpack.artifact import ModelFile
from modelpack.deviations import Mode
from modelpack.errors import DestinationError, InvalidSelection, UnsafeName
from modelpack.globs import Glob, any_matches
from modelpack.hashing import hash_file
from modelpack.imagelayers import Select, unpacking_order
from modelpack.manifest import Descriptor
from modelpack.names import NameSet
from modelpack.oci.client import RegistryClient
from modelpack.oci.partial_blob import PartialBlob
from modelpack.oci.reading import read_model
from modelpack.oci.transfer import PARALLEL, Progress, all_of
from modelpack.reference import Reference
from modelpack.tarlayer import extract_tar
from modelpack.tarstream import TarEntry


@dataclass(frozen=True, slots=True)
class FetchedFiles:
    """`digest` of the manifest; `files` that are in the directory now, `size` of them in bytes."""

    digest: str
    files: tuple[str, ...]
    size: int


async def fetch_files(
    ref: Reference,
    destination: Path,
    client: RegistryClient,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    patterns: Iterable[str] = (),
    mode: Mode = "lenient",
    parallel: int = PARALLEL,
) -> FetchedFiles:
    """Fetch the files of `ref` that one of `patterns` (see `modelpack.globs`) matches, or all where there is none.

    A file that is there already with the model's content stays; one with another is never replaced. Archives are
    fetched whole, as only they know what they hold, unless they are said to hold one file that no pattern matches.
    Raises InvalidSelection, DestinationError, RegistryError, DigestMismatch, UnsupportedArtifact, UnsafeName.
    """
    globs = tuple(Glob(pattern) for pattern in patterns)
    model = await read_model(ref, client, mode=mode)
    pinned = Reference(ref.registry, ref.repository, digest=model.descriptor.digest)
    tell = on_progress or (lambda progress: None)
    raw = [file for file in model.artifact.files if file.encoding == "raw" and _wanted(globs, file.path)]
    archives = [file for file in model.artifact.files if file.encoding != "raw" and _may_hold(globs, file)]
    if not raw and not archives:
        raise _nothing(ref, globs, "`**/*.json` means files of any directory; `modeldist inspect` lists them.")
    _check_partials(raw)
    await asyncio.to_thread(destination.mkdir, parents=True, exist_ok=True)

    async def receive(file: ModelFile, target: Path) -> None:
        partial = PartialBlob(file.descriptor, target)
        await partial.receive(pinned, client, lambda how, done: tell(Progress(file.descriptor, how, done)))

    async def file_of(blob: Descriptor) -> None:
        first: Path | None = None
        for file in (file for file in raw if file.descriptor.digest == blob.digest):
            target = await asyncio.to_thread(_place, destination, file.path)
            if await asyncio.to_thread(_is_there, target, blob.digest, blob.size):
                tell(Progress(blob, "present", blob.size if first is None else 0))
            elif first is None:
                await receive(file, target)
            else:
                await asyncio.to_thread(_duplicate, first, target)
            await asyncio.to_thread(target.chmod, 0o755 if file.executable else 0o644)
            first = first or target

    found = {file.path: file.descriptor.size for file in raw}
    await all_of(file_of, {file.descriptor.digest: file.descriptor for file in raw}.values(), parallel)
    names = NameSet()
    for file in raw:
        names.add_file(file.path)
    for number, select in unpacking_order([file.subtree for file in archives]):
        file = archives[number]
        room = destination / f".fetch-{file.descriptor.digest.partition(':')[2][:16]}"
        if room.is_symlink():
            raise DestinationError(f"{room} is there and a link.", remedy="Find out who made it, and remove it.")
        await asyncio.to_thread(room.mkdir, exist_ok=True)
        await receive(file, room / "archive")
        found |= await asyncio.to_thread(_unpack, file, room, destination, _only(select, globs), names)
    if not found:
        raise _nothing(ref, globs, "Its archives were looked through. `**/*.json` means files of any directory.")
    return FetchedFiles(model.descriptor.digest, tuple(sorted(found)), sum(found.values()))


def _nothing(ref: Reference, globs: tuple[Glob, ...], remedy: str) -> InvalidSelection:
    return InvalidSelection(
        f"{ref} has no file that {' or '.join(glob.pattern for glob in globs)} matches.", remedy=remedy
    )


def _check_partials(files: Iterable[ModelFile]) -> None:
    """No file may be called what the beginning of another one is called while that is fetched. Raises UnsafeName."""
    paths = {file.path for file in files}
    for path in paths:
        folder, slash, name = path.rpartition("/")
        if (partial := f"{folder}{slash}.partial-{name}") in paths:
            raise UnsafeName(
                f"The file name {partial[:200]!r} is unsafe: so is called what is there of {path[:200]!r} at first.",
                remedy="Fetch the two one after the other, by patterns, into two directories.",
            )


def _wanted(globs: tuple[Glob, ...], path: str) -> bool:
    return not globs or any_matches(globs, path)


def _may_hold(globs: tuple[Glob, ...], file: ModelFile) -> bool:
    """An archive whose note of a file agrees with its path holds that file alone."""
    about = file.metadata
    alone = about is not None and about.size > 0 and about.name == file.path.rpartition("/")[2] and about.typeflag == 0
    return not alone or _wanted(globs, file.path)


def _only(select: Select, globs: tuple[Glob, ...]) -> Select:
    def chosen(entry: TarEntry) -> TarEntry | None:
        found = select(entry)
        if found is None:
            return None
        name = found.name
        while name.startswith("./"):
            name = name[2:]
        if globs and (found.type == "directory" or not any_matches(globs, name)):
            return None
        return found

    return chosen


def _unpack(file: ModelFile, room: Path, destination: Path, select: Select, names: NameSet) -> dict[str, int]:
    """Unpack beside, then move file by file. What one fetch moved, the next finds to be the same."""
    fresh = room / "files"
    shutil.rmtree(fresh, ignore_errors=True)
    with (room / "archive").open("rb") as archive:
        unpacked = extract_tar(archive, file.encoding, fresh, links=True, names=names, select=select)
    for each in unpacked.files:
        target = _place(destination, each.path)
        if not _is_there(target, each.digest, each.size):
            (fresh / each.path).replace(target)
    for name, leads_to in unpacked.links:
        with suppress(FileExistsError):
            _place(destination, name).symlink_to(leads_to)
    shutil.rmtree(room)
    return {each.path: each.size for each in unpacked.files}


def _duplicate(first: Path, target: Path) -> None:
    """The same content under another name."""
    beside = target.with_name(f".partial-{target.name}")
    beside.unlink(missing_ok=True)
    with first.open("rb") as content, beside.open("xb") as copy:
        shutil.copyfileobj(content, copy)
    beside.replace(target)


def _place(destination: Path, path: str) -> Path:
    """Where a file goes, its directory made. Raises DestinationError when links lead elsewhere."""
    target = destination / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(destination.resolve()):
        raise DestinationError(
            f"{target.parent} is a link out of {destination}.", remedy="Name a directory without such links."
        )
    return target


def _is_there(target: Path, digest: str, size: int) -> bool:
    """Whether the file is there with this content. Raises DestinationError when there is something else."""
    try:
        status = target.lstat()
    except FileNotFoundError:
        return False
    same = target.is_file() and not target.is_symlink() and status.st_size == size
    if same and hash_file(target, digest.partition(":")[0]).digest == digest:
        return True
    raise DestinationError(
        f"{target} is there and is not the model's file of that name.",
        remedy="Nothing is replaced: remove it, or name another directory.",
    )
