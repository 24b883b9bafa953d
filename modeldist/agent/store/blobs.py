"""Complete shards: read-only files named by their sha256, and aliases for shards known by another digest."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

from modeldist.agent.store.atomic import sync_directory, temporary, write_all, write_atomically
from modeldist.agent.store.buffers import chunks
from modeldist.agent.store.failures import naming
from modeldist.agent.store.places import Places
from modeldist.agent.store.sync_many import sync_all
from modeldist.artifact import Digest, algorithm, parse_digest
from modeldist.errors import IntegrityError

SMALL = 1 << 20  # bytes; below this a name lost in a crash of the machine costs less than syncing it
_NAME = re.compile(r"[0-9a-f]{64}")
_READ_ONLY = 0o444
_AT_ONCE = 256  # files open at once for one wait, but no more than
_OF_DESCRIPTORS = 8  # the limit of descriptors over this
_REMEMBERED = 100_000  # aliases, about 30 MB


class Blobs:
    """Thread-safe. `gate()` excludes the collector for as long as it is held."""

    def __init__(
        self, places: Places, gate: Callable[[], AbstractContextManager[object]], clock: Callable[[], float]
    ) -> None:
        self._places = places
        self.gate = gate
        self._git: dict[Digest, Digest] = {}
        self._clock = clock

    def sha256(self, digest: Digest) -> Digest | None:
        """The sha256 digest that `digest` stands for, known or not complete; None when an alias is not known."""
        if digest.startswith("sha256:"):
            return digest
        if (known := self._git.get(digest)) is not None:
            return known
        try:
            content = parse_digest(_read(self._places.alias_file(digest)).decode("ascii"))
        except (OSError, UnicodeDecodeError, IntegrityError):
            return None
        self._remember(digest, content)
        return content

    def _remember(self, alias: Digest, content: Digest) -> None:
        """What a git-sha1 stands for never changes; what an etag stands for may."""
        if alias.startswith("git-sha1:") and len(self._git) < _REMEMBERED:
            self._git[alias] = content

    def path(self, digest: Digest) -> Path | None:
        """The complete blob, or None."""
        path = self.file(digest)
        return Path(path) if path else None

    def file(self, digest: Digest) -> str | None:
        """`path` as text, which takes a fraction of the time: asked of every shard of every pull."""
        content = self.sha256(digest)
        if content is None:
            return None
        path = self._places.blob_file(content)
        return path if os.path.isfile(path) else None  # noqa: PTH113

    def adopt(self, source: Path, fd: int, content: Digest, aliases: Iterable[Digest]) -> None:
        """Make `source`, open as `fd`, synced, and proven to be `content`, a blob. On return it survives a crash.
        Under the gate.

        Order: data, then aliases, then the name. An alias without its blob means nothing, so a crash in between
        costs at most a look at the partial file again.
        """
        found = os.fstat(fd)
        durable = found.st_size > SMALL or found.st_nlink > 1  # a snapshot shows it already, in part
        self._finish(fd, content, aliases, durable=durable)
        target = self._places.blob(content)
        if self._renewed(str(target)):
            source.unlink()
            return
        target.parent.mkdir(exist_ok=True)
        if durable:
            sync_directory(target.parent.parent)  # moved into a folder that is lost, the file would be, too
        source.rename(target)
        if durable:
            sync_directory(target.parent)

    def adopt_nameless(self, fd: int, content: Digest, aliases: Iterable[Digest]) -> bool:
        """As `adopt`, of a small file without a name. False where it cannot be given one: without /proc, or where hard
        links are restricted."""
        self._finish(fd, content, aliases, durable=False)
        target = self._places.blob_file(content)
        try:
            _give_name(fd, target)
        except FileNotFoundError:
            Path(target).parent.mkdir(exist_ok=True)
            try:
                _give_name(fd, target)
            except OSError:
                return False
        except FileExistsError:
            return self._renewed(target)
        except OSError:
            return False
        return True

    def _finish(self, fd: int, content: Digest, aliases: Iterable[Digest], *, durable: bool) -> None:
        """All but the name. `durable`: names are worth a sync."""
        os.fchmod(fd, _READ_ONLY)
        now = self._clock()
        os.utime(fd, (now, now))
        for alias in aliases:
            if algorithm(alias) != "sha256":
                self._write_alias(alias, content, durable=durable)

    def _write_alias(self, digest: Digest, content: Digest, *, durable: bool) -> None:
        path = self._places.alias_file(digest)
        if durable or not _write_new(path, content.encode()):
            write_atomically(path, content.encode(), tmp=self._places.tmp, durable=durable)
        self._remember(digest, content)

    def keep_aliases(self, digests: Iterable[Digest]) -> None:
        """Make what these etags stand for survive a crash of the machine. Raises OSError."""
        aliases = sorted({self._places.alias_file(digest) for digest in digests if algorithm(digest) == "etag"})
        at_once = _open_at_once()
        for start in range(0, len(aliases), at_once):
            with ExitStack() as opened:
                fds = []
                for path in aliases[start : start + at_once]:
                    with suppress(FileNotFoundError):
                        fds.append(os.open(path, os.O_RDONLY))
                        opened.callback(os.close, fds[-1])
                for failed in sync_all(fds):
                    if failed is not None:
                        raise failed
        if aliases:
            sync_directory(self._places.aliases / "etag")

    def put_bytes(self, data: bytes) -> Digest:
        """Store a small blob. Raises StorageError."""
        content = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")

        def write(fd: int) -> Digest:
            write_all(fd, data)
            return content

        return self._put(write)

    def import_file(self, path: Path) -> Digest:
        """Store a copy of a file. Raises StorageError."""

        def write(fd: int) -> Digest:
            hasher = hashlib.sha256()
            with path.open("rb", buffering=0) as source:
                size = os.fstat(source.fileno()).st_size
                for chunk in chunks(source.fileno(), 0, size):
                    hasher.update(chunk)
                    write_all(fd, chunk)
            return Digest(f"sha256:{hasher.hexdigest()}")

        return self._put(write)

    def _put(self, write: Callable[[int], Digest]) -> Digest:
        with naming("store a blob", self._places.root):
            scratch = temporary(self._places.tmp)
            fd = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                content = write(fd)
                os.fdatasync(fd)
                with self.gate():
                    self.adopt(scratch, fd, content, ())
            finally:
                os.close(fd)
                scratch.unlink(missing_ok=True)
            return content

    def _renewed(self, blob: str) -> bool:
        """Whether the blob is there already: then it is kept, because hard links point to it, and counts as new."""
        now = self._clock()
        try:
            os.utime(blob, (now, now))
        except FileNotFoundError:
            return False
        return True

    def walk(self) -> Iterator[tuple[Digest, Path]]:
        """Every complete blob."""
        return blobs_in(self._places)

    def known_aliases(self) -> Iterator[tuple[Digest, Path]]:
        for folder in _children(self._places.aliases):
            for path in _children(folder):
                yield Digest(f"{folder.name}:{path.name}"), path

    def size(self, digest: Digest) -> int | None:
        """Bytes of the complete blob, or None."""
        content = self.sha256(digest)
        if content is None:
            return None
        try:
            found = os.stat(self._places.blob_file(content))  # noqa: PTH116 - hot
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None


def _read(path: str) -> bytes:
    """A file of a line."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 256)
    finally:
        os.close(fd)


def _write_new(path: str, line: bytes) -> bool:
    """Make a file of a line, which whoever sees it half written takes for none. False where there is one."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    try:
        return os.write(fd, line) == len(line)
    finally:
        os.close(fd)


def _open_at_once() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _AT_ONCE if limit == resource.RLIM_INFINITY else max(1, min(_AT_ONCE, limit // _OF_DESCRIPTORS))


def _give_name(fd: int, path: str) -> None:
    # A directory's descriptor, which an absolute path makes no use of, is what has Python follow the link.
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)


def blobs_in(places: Places) -> Iterator[tuple[Digest, Path]]:
    """Every complete blob. What else lies among them (`.nfs…` of a network's filesystem, a pipe that nobody writes
    into) is left alone."""
    for folder in _children(places.blobs):
        for path in _children(folder):
            if _NAME.fullmatch(path.name) and path.is_file():
                yield Digest(f"sha256:{path.name}"), path


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
