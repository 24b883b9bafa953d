"""The blobs of an OCI image layout: files named by their digest. Every read is checked against its descriptor."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal

from modelpack.artifact import check_bytes
from modelpack.digests import digest_problem, sha256_digest
from modelpack.errors import DigestMismatch, LayoutError, SizeMismatch
from modelpack.hashing import hash_file
from modelpack.manifest import Descriptor
from modelpack.placement import Placement, place_file
from modelpack.regular_files import open_regular

MAX_SMALL_BLOB = 4 * 1024 * 1024  # bytes read into memory: manifests and configs
_REMEDY = "Fetch the artifact again."


class BlobDirectory:
    """`<path>/<algorithm>/<hex>`. Blobs are never changed once written, so several processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def path_of(self, digest: str) -> Path:
        """Where the blob is or would be. Raises LayoutError on a malformed digest."""
        if problem := digest_problem(digest):
            raise LayoutError(f"{digest[:100]!r} is not a digest: {problem}.")
        algorithm, _, value = digest.partition(":")
        return self.path / algorithm / value

    def has(self, descriptor: Descriptor) -> bool:
        """Whether a blob of that digest and size is there; its content is not read."""
        try:
            return self.path_of(descriptor.digest).stat().st_size == descriptor.size
        except FileNotFoundError:
            return False

    def open(self, descriptor: Descriptor, what: str = "blob") -> BinaryIO:
        """The blob for reading, its size checked, its digest not. Raises LayoutError, SizeMismatch."""
        path = self.path_of(descriptor.digest)
        try:
            file = open_regular(path)
        except FileNotFoundError:
            raise LayoutError(f"The {what} {descriptor.digest} is missing in {self.path}.", remedy=_REMEDY) from None
        except OSError as problem:
            raise LayoutError(
                f"The {what} {descriptor.digest} cannot be read in {self.path}: {problem.strerror}.", remedy=_REMEDY
            ) from None
        size = os.fstat(file.fileno()).st_size
        if size != descriptor.size:
            file.close()
            raise SizeMismatch(
                f"The {what} {descriptor.digest} has {size} bytes and its descriptor says {descriptor.size}.",
                remedy=_REMEDY,
            )
        return file

    def read(self, descriptor: Descriptor, what: str = "blob", *, limit: int = MAX_SMALL_BLOB) -> bytes:
        """A small blob, of at most `limit` bytes, checked. Raises LayoutError, SizeMismatch, DigestMismatch."""
        if descriptor.size > limit:
            raise LayoutError(f"The {what} {descriptor.digest} has {descriptor.size} bytes; at most {limit} are read.")
        with self.open(descriptor, what) as file:
            data = file.read()
        check_bytes(data, descriptor, what)
        return data

    def check(self, descriptor: Descriptor) -> None:
        """Read a blob of any size and compare. Raises LayoutError, SizeMismatch, DigestMismatch."""
        self.open(descriptor).close()
        actual = hash_file(self.path_of(descriptor.digest), descriptor.digest.partition(":")[0]).digest
        if actual != descriptor.digest:
            raise DigestMismatch(f"The blob {descriptor.digest} has the digest {actual}.", remedy=_REMEDY)

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Store bytes under their sha256."""
        descriptor = Descriptor(media_type=media_type, digest=sha256_digest(data), size=len(data))
        if not self.has(descriptor):
            replace_file(self.path_of(descriptor.digest), data)
        return descriptor

    def add_file(self, source: Path, descriptor: Descriptor) -> Placement | Literal["present"]:
        """Store a file whose size and digest the caller has just computed; says how.

        A hard-linked blob changes with its source; `check` finds that.
        """
        if self.has(descriptor):
            return "present"
        target = self.path_of(descriptor.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        return place_file(source, target)

    def take_file(self, written: Path, descriptor: Descriptor) -> Literal["moved", "present"]:
        """Make a file that was written below `path` the blob of the digest the caller has computed."""
        if self.has(descriptor):
            return "present"
        target = self.path_of(descriptor.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        with written.open("rb") as file:
            os.fsync(file.fileno())
        written.replace(target)
        return "moved"


def replace_file(target: Path, data: bytes) -> None:
    """Write a whole file so that readers, and a crash, see the old one or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    temporary = Path(name)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(fd, 0o644)
            os.fsync(fd)
        temporary.replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
