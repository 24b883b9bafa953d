"""What pulls without an agent leave behind, so that `modeldist why` can tell of them afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from modeldist.agent.progress import PullSnapshot
from modeldist.agent.store.atomic import write_atomically
from modeldist.errors import UNDECODABLE

KEPT = 50  # pulls; the oldest go first


class PastPulls:
    """`<store>/pulls/<nanoseconds>-<id>.json`, one ended pull each. Safe between processes. `clock` gives seconds since
    the epoch."""

    def __init__(self, store: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = store / "pulls"
        self._clock = clock

    def keep(self, ended: PullSnapshot) -> None:
        """Remember it. A store that cannot be written is no reason to fail a pull that has ended."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / f"{int(self._clock() * 1e9):020}-{ended.pull}.json"
            write_atomically(path, msgspec.json.encode(ended), tmp=self._folder)
            for old in self._files()[KEPT:]:
                old.unlink(missing_ok=True)

    def find(self, text: str) -> PullSnapshot | None:
        """The newest with this id, or its beginning, or this reference."""
        for path in self._files():
            try:
                found = msgspec.json.decode(path.read_bytes(), type=PullSnapshot)
            except (OSError, *UNDECODABLE):
                continue
            if found.pull.startswith(text) or text in (found.reference, found.resolved):
                return found
        return None

    def _files(self) -> list[Path]:
        """Newest first."""
        with suppress(OSError):
            return sorted((path for path in self._folder.iterdir() if path.suffix == ".json"), reverse=True)
        return []
