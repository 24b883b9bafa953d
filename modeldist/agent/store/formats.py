"""Formats of the store, and how an older one becomes the newest, in place.

Each step takes a store of one format to the next. It may be run again on what a crash has left of it, and VERSION says
the new format only once all of the step is on the disk: a crash leaves a store of the old format, which the next
program to open it migrates again. Nobody else may work with the store meanwhile; what does is told, and so is who
opened it. A program that knows no format as new as a store's refuses it and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from modeldist.agent.store.atomic import write_atomically, write_once
from modeldist.agent.store.failures import naming
from modeldist.agent.store.live import Live
from modeldist.agent.store.locks import is_locked, try_lock
from modeldist.agent.store.places import FORMAT, Places
from modeldist.errors import StorageError

_UPGRADE = "Upgrade modeldist, or choose another root."


@dataclass(frozen=True)
class Step:
    """From format `before` to the next. `what` says what it does. `do` leaves all it writes on the
    disk, and may be done again."""

    before: int
    what: str
    do: Callable[[Places], None]


@dataclass(frozen=True)
class Formats:
    """The format that this program writes, and the steps to it from older ones."""

    newest: int = FORMAT
    steps: tuple[Step, ...] = field(default=())

    def check(self, places: Places, tell: Callable[[str], object]) -> None:
        """Have the store be of the newest format; `tell` is given what is done. Raises StorageError."""
        if self._of(places) == self.newest:
            return
        with naming("migrate the store", places.root), ExitStack() as held:
            self._shut(places, held)
            while (found := self._of(places)) != self.newest:
                step = next(step for step in self._path(places, found) if step.before == found)
                tell(f"The store at {places.root} is migrated from format {found} to {found + 1}: {step.what}.")
                step.do(places)
                write_atomically(places.version, f"{found + 1}\n".encode(), tmp=places.tmp, durable=True)
                tell(f"The store at {places.root} has format {found + 1} now; older programs will refuse it.")

    def refuse(self, places: Places) -> None:
        """Before anything is changed: raises StorageError for a store that this program cannot work with."""
        try:
            text = places.version.read_text("utf-8", "replace")
        except OSError:
            return
        if not _is_lost(text):
            self._known(places, text)

    def _of(self, places: Places) -> int:
        """Raises StorageError."""
        return self._known(places, self._read(places))

    def _known(self, places: Places, text: str) -> int:
        """The format, if it is one that leads here. Raises StorageError."""
        text = text.strip()
        if not (text.isascii() and text.isdigit()):
            raise self._unknown(places, text)
        self._path(places, int(text))
        return int(text)

    def _read(self, places: Places) -> str:
        """A new store gets the newest. One whose VERSION a crash took counts as the oldest: steps may be done again."""
        oldest = min((step.before for step in self.steps), default=self.newest)
        begun = oldest != self.newest and any(
            True for folder in (places.blobs, places.partials) for _ in folder.iterdir()
        )
        text = f"{oldest if begun else self.newest}\n"
        return write_once(places.version, text, places.tmp, damaged=_is_lost)

    def _path(self, places: Places, found: int) -> tuple[Step, ...]:
        path = tuple(step for step in self.steps if found <= step.before < self.newest)
        if found > self.newest or len(path) != self.newest - found:
            raise self._unknown(places, str(found))
        return path

    def _unknown(self, places: Places, text: str) -> StorageError:
        older = text.isascii() and text.isdigit() and int(text) < self.newest
        return StorageError(
            f"The store at {places.root} has format {text[:40]!r}; this program knows format {self.newest}.",
            remedy="It is too old to be migrated: choose another root." if older else _UPGRADE,
        )

    @staticmethod
    def _shut(places: Places, held: ExitStack) -> None:
        """Nobody else works with it, and nobody who knows of formats begins to. Raises StorageError."""
        held.enter_context(Live(places.live).closed_gate())
        if is_locked(places.root / "agent.lock"):
            raise _in_use(places, "an agent")
        if Live(places.live).leases():
            raise _in_use(places, "a pull, or a program that was started with a model,")
        for lock in places.partials.glob("*/lock"):
            if (taken := try_lock(lock, patience=0)) is None:
                raise _in_use(places, "a pull")
            held.enter_context(taken)


FORMATS = Formats()


def _is_lost(text: str) -> bool:
    """Whether a crash took it."""
    return not text.strip("\0\n")


def _in_use(places: Places, who: str) -> StorageError:
    return StorageError(
        f"The store at {places.root} has an older format, and {who} works with it.",
        remedy="Stop that, then try again: the store is migrated by who opens it first.",
    )
