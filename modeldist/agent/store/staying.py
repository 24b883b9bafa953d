"""Why an artifact may not go: it is pinned, or something works with it.

What this program does itself is known by leases and by the names that mounts keep. Of every other program the kernel
knows: a write lease of a file is given to nobody while any descriptor or mapping of it exists, in whatever container.
That takes no right but to own the file. Filesystems without leases (NFS, some of FUSE) do not say; there a model that
must stay has to be pinned. So has one that a program has read to its end and closed, and may want again.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from modeldist.agent.store.blobs import Blobs
from modeldist.agent.store.hub import Repository
from modeldist.agent.store.live import Live
from modeldist.agent.store.places import Places
from modeldist.agent.store.records import Record, Records
from modeldist.artifact import Digest

PINNED = "is pinned"
LEASED = "is in use by a pull, the gateway or a program that was started with it"
MOUNTED = "is mounted"
OPEN = "is open in a program"


class Staying:
    """As things are while the gate is closed."""

    def __init__(self, places: Places, blobs: Blobs, records: Records, live: Live) -> None:
        self._places = places
        self._blobs = blobs
        self._records = records
        self._leases = live.leases()

    @cached_property
    def _pinned(self) -> set[Digest]:
        return self._records.pinned_artifacts()

    @cached_property
    def _mounted(self) -> set[tuple[int, int]]:
        return set(_inodes(self._places.mounts.glob("*/files/**/*")))

    def why(self, record: Record) -> str:
        """Empty where it may go."""
        if record.artifact.digest in self._pinned:
            return PINNED
        if self._leased(record):
            return LEASED
        files = list(self._files(record))
        if self._mounted and not self._mounted.isdisjoint(_inodes(files)):
            return MOUNTED
        return OPEN if any(map(is_open, files)) else ""

    def _leased(self, record: Record) -> bool:
        """As this artifact, or by somebody who has not said as which."""
        names = {shard.digest for shard in record.artifact.shards}
        names |= {content for digest in tuple(names) if (content := self._blobs.sha256(digest)) is not None}
        return any(
            lease.artifact == record.artifact.digest
            or (lease.artifact is None and not names.isdisjoint(self._contents(lease.shards)))
            for lease in self._leases
        )

    def _contents(self, shards: frozenset[Digest]) -> set[Digest]:
        """Both as leased and as the sha256 that stands for."""
        return {*shards, *(content for shard in shards if (content := self._blobs.sha256(shard)) is not None)}

    def _files(self, record: Record) -> Iterator[Path]:
        for shard in record.artifact.shards:
            if (path := self._blobs.path(shard.digest)) is not None:
                yield path
        for digest in record.sparse:
            yield self._places.partial(digest) / "data"
        for at in record.snapshots:  # copies, where links cannot be made, and what was unpacked
            folder = Repository(Path(at.hub), at.repo_id).snapshot(at.revision)
            for place, _, names in os.walk(folder):
                yield from (Path(place, name) for name in names)


def is_open(path: Path) -> bool:
    """Whether any program has the file open or mapped, as far as the kernel says."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # Who opens it in this moment waits for it to end, and would have the kernel send us SIGIO, which kills.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)  # and the lease with it
    return False


def _inodes(paths: Iterator[Path] | list[Path]) -> Iterator[tuple[int, int]]:
    for path in paths:
        with suppress(OSError):
            found = path.stat()
            yield found.st_dev, found.st_ino
