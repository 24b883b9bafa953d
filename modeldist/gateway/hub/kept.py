"""What the hub said of who may read, kept over a restart of the agent: it counts while the hub is away, for a day.

No credentials are kept. Entries are filed under a keyed hash of repository and credentials, and only those of nobody in
particular and of the hub's own tokens, which are random: a password could be guessed from its hash.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import msgspec

from modeldist.agent.store.atomic import write_atomically
from modeldist.errors import UNDECODABLE
from modeldist.logger import Logger

log = Logger(__name__)

LIFE = 24 * 3600.0  # seconds
REMEMBERED = 4096  # repositories and who reads them
_TOKEN = re.compile(r"Bearer hf_[A-Za-z0-9]{24,}")


class Said(msgspec.Struct, frozen=True, array_like=True):
    """`at` in seconds since the epoch."""

    commit: str
    reads: bool
    at: float


class _File(msgspec.Struct):
    key: bytes
    said: dict[str, dict[str, Said]]  # by hash, then by revision


class KeptAdmissions:
    """Thread-safe. `path` is readable by its owner alone; `now` gives seconds since the epoch."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path = path
        self._now = now
        self._lock = threading.Lock()
        self._changed = False
        try:
            read = msgspec.json.decode(path.read_bytes(), type=_File)
        except (OSError, *UNDECODABLE):
            read = _File(os.urandom(32), {})
        self._key = read.key if len(read.key) == 32 else os.urandom(32)
        self._said: OrderedDict[str, dict[str, Said]] = OrderedDict(read.said)

    def get(self, repo: str, revision: str, authorization: str) -> Said | None:
        """What it said within the last day."""
        with self._lock:
            said = self._said.get(self._of(repo, authorization), {}).get(revision)
        return said if said is not None and 0 <= self._now() - said.at < LIFE else None

    def put(self, repo: str, revision: str, authorization: str, commit: str, *, reads: bool) -> bool:
        """Whether there is something to write."""
        if authorization and not _TOKEN.fullmatch(authorization):
            return False
        at = self._of(repo, authorization)
        with self._lock:
            self._said.setdefault(at, {})[revision] = Said(commit, reads, self._now())
            self._said.move_to_end(at)
            while len(self._said) > REMEMBERED:
                self._said.popitem(last=False)
            self._changed = True
        return True

    def forget(self, repo: str, authorization: str) -> bool:
        """The hub lets them read no more. Whether there is something to write."""
        with self._lock:
            gone = self._said.pop(self._of(repo, authorization), None) is not None
            self._changed |= gone
        return gone

    def write(self) -> None:
        """Blocks. Where it cannot be written nothing is kept."""
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            old = self._now() - LIFE
            fresh = {at: {r: s for r, s in said.items() if s.at > old} for at, said in self._said.items()}
            document = msgspec.json.encode(_File(self._key, {at: said for at, said in fresh.items() if said}))
        try:
            write_atomically(self._path, document, tmp=self._path.parent)
        except OSError as error:
            log.warning("who may read is not kept over a restart", path=str(self._path), error=str(error))

    def _of(self, repo: str, authorization: str) -> str:
        return hashlib.blake2b(f"{repo}\0{authorization}".encode(), key=self._key, digest_size=32).hexdigest()
