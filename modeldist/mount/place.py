"""Where a mount keeps what is its own: in the store, under the name of the directory it is mounted at.

mounts/<quoted directory>/lock     flocked as long as the mount is served
mounts/<quoted directory>/files/   names of the store's files, while the directory shows them directly
mounts/<quoted directory>/log      what `mount --background` says
access/<hex>.json                  in which order the artifact of that digest was read
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from modeldist.agent.store.atomic import write_atomically
from modeldist.agent.store.failures import naming
from modeldist.agent.store.locks import FileLock, is_locked, try_lock, wait_unlocked
from modeldist.agent.store.places import file_name

MOST_RECORDS = 256
"""Access orders that are kept; the oldest go."""


class Place:
    """Of one directory. Any method may raise StorageError, StoreNotWritable or NotEnoughSpace."""

    def __init__(self, store: Path, directory: Path) -> None:
        self._store = store
        self.folder = store / "mounts" / file_name(str(directory))
        self.files = self.folder / "files"
        self.log = self.folder / "log"
        self._lock = self.folder / "lock"

    def make(self) -> None:
        with naming("keep a mount's state", self.folder):
            self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def take(self) -> FileLock | None:
        """The lock; None while another process serves this directory."""
        self.make()
        with naming("lock a mount", self.folder):
            return try_lock(self._lock)

    def taken(self) -> bool:
        return is_locked(self._lock)

    def wait_left(self, seconds: float) -> bool:
        """Wait until nobody serves the directory. Whether that came true."""
        return wait_unlocked(self._lock, seconds)

    def clear(self) -> None:
        """Remove the names of files; whoever has one open keeps it."""
        shutil.rmtree(self.files, ignore_errors=True)

    # --- access orders ---

    def recorded(self, digest: str) -> bytes | None:
        try:
            return self._record(digest).read_bytes()
        except OSError:
            return None

    def record(self, digest: str, data: bytes) -> None:
        path = self._record(digest)
        with naming("record in which order a model was read", path):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(path, data, tmp=path.parent)
            records = sorted(path.parent.iterdir(), key=lambda each: each.stat().st_mtime)
            for old in records[:-MOST_RECORDS]:
                with suppress(FileNotFoundError):
                    old.unlink()

    def _record(self, digest: str) -> Path:
        return self._store / "access" / f"{digest.partition(':')[2]}.json"


def directory_of(path: Path) -> Path:
    """`path` absolute and without links, but for its last part: what is mounted there may be dead, and cannot be
    looked at."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would look at the mount
    with suppress(OSError):
        if absolute.is_symlink():
            return absolute.resolve()
    return absolute.parent.resolve() / absolute.name
