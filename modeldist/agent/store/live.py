"""What running processes hold: leases of blobs, reservations of disk space, and the gate in front of the collector.

Each is a file in `live/` that its process keeps flocked, so a killed process holds nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from modeldist.agent.store.atomic import unique, write_all
from modeldist.agent.store.failures import FREE_SPACE, free_bytes, naming
from modeldist.agent.store.locks import FileLock, is_locked, lock
from modeldist.artifact import Digest
from modeldist.errors import NotEnoughSpace

_WIDTH = 20  # digits of a reservation's file
_ARTIFACT = "@"  # in front of the artifact in a lease; no digest begins so


@dataclass(frozen=True)
class Leased:
    """What a live process leases: shards, and as which artifact it uses them; None where it has not said so."""

    shards: frozenset[Digest]
    artifact: Digest | None = None


class Lease:
    """Blobs this process uses. Ends with `release()` or the `with` block."""

    def __init__(self, held: FileLock) -> None:
        self._held = held

    def release(self) -> None:
        if self._held.fd >= 0:
            let_go(self._held)

    def outlive(self) -> None:
        """The program that this process becomes holds it, as long as it runs; it is never released here."""
        os.set_inheritable(self._held.fd, True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


class Reservation:
    """Bytes of disk this process is going to use. Ends with `release()` or the `with` block. Thread-safe."""

    def __init__(self, live: Live, held: FileLock, size: int) -> None:
        self._live = live
        self._held = held
        self._lock = threading.Lock()
        self._outstanding = size

    @property
    def outstanding(self) -> int:
        """Bytes reserved and not used yet."""
        return self._outstanding

    def spend(self, size: int) -> int:
        """`size` bytes of it are allocated now and no longer counted twice; how much of `size` was not in it."""
        with self._lock:
            spent = min(size, self._outstanding)
            self._outstanding -= spent
            if self._held.fd >= 0:
                os.pwrite(self._held.fd, b"%0*d" % (_WIDTH, self._outstanding), 0)
            return size - spent

    def release(self) -> None:
        with self._lock:
            if self._held.fd >= 0:
                self._live.forget(self)
                let_go(self._held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def let_go(held: FileLock) -> None:
    """Without its lock the file means nothing: a disk that does not remove it must not hide why a pull failed."""
    with suppress(OSError):
        held.path.unlink(missing_ok=True)
    held.release()


class Live:
    """The folder of live files. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine: list[Reservation] = []

    def gate(self) -> FileLock:
        """Hold it shared while using something the collector might take for garbage. Never hold it twice."""
        return lock(self._folder / "gate", shared=True)

    def closed_gate(self) -> FileLock:
        """Held by the collector alone."""
        return lock(self._folder / "gate")

    def lease(self, digests: Iterable[Digest], artifact: Digest | None = None) -> Lease:
        """Until released, no process's collector removes these blobs, nor `artifact`. Raises StorageError."""
        lines = [*([f"{_ARTIFACT}{artifact}"] if artifact else []), *digests]
        with naming("take a lease", self._folder), self.gate():
            return Lease(self._hold("lease", "\n".join(lines).encode()))

    def leases(self) -> list[Leased]:
        """Of all live processes. Call with the gate closed."""
        return [_leased(text.split()) for text in self._held("lease")]

    def leased(self) -> set[Digest]:
        """Digests leased by any live process. Call with the gate closed."""
        return {shard for lease in self.leases() for shard in lease.shards}

    def claimed(self, place: Path) -> int:
        """Bytes of the disk that `place` is on which live processes have reserved and not used yet."""
        with naming("reserve space", place), lock(self._folder / "reserving"):
            return self._claimed(place)

    def _claimed(self, place: Path) -> int:
        return sum(int(text or 0) for text in self._held(_kind(place)))

    def making_room(self) -> FileLock:
        """Who evicts for a pull holds it until that has reserved what was made free."""
        return lock(self._folder / "making-room")

    def reserve(self, size: int, place: Path, *, shards: bool = True) -> Reservation:
        """Claim `size` bytes of the disk that `place` is on. `shards`: what `spend` is told of comes off it.

        Raises NotEnoughSpace when free space less all live reservations of that disk is below `size` bytes.
        """
        with naming("reserve space", place), lock(self._folder / "reserving"):
            others = self._claimed(place)
            free = free_bytes(place)
            if size > free - others:
                raise NotEnoughSpace(
                    f"{place} needs {size:,} more bytes but has {free:,} free"
                    + (f", of which {others:,} are reserved by other pulls." if others else "."),
                    remedy=FREE_SPACE,
                )
            held = self._hold(_kind(place), b"%0*d" % (_WIDTH, size))
            reservation = Reservation(self, held, size)
            if shards:
                self._mine.append(reservation)
            return reservation

    def spend(self, size: int) -> None:
        """`size` bytes were allocated: take them off this process's reservations, oldest first."""
        for reservation in tuple(self._mine):
            size = reservation.spend(size)
            if size == 0:
                return

    def forget(self, reservation: Reservation) -> None:
        if reservation in self._mine:
            self._mine.remove(reservation)

    def _hold(self, kind: str, content: bytes) -> FileLock:
        held = lock(self._folder / f"{kind}-{unique()}")
        try:
            write_all(held.fd, content)
        except BaseException:
            held.path.unlink(missing_ok=True)
            held.release()
            raise
        return held

    def _held(self, kind: str) -> list[str]:
        """Contents of the files of `kind` of live processes; those of dead ones are removed.

        Call only where nobody can be making one: its maker has it open for a moment before locking it.
        """
        found = []
        for path in self._folder.glob(f"{kind}-*"):
            try:
                if is_locked(path):
                    found.append(path.read_text("ascii"))
                else:
                    path.unlink()
            except FileNotFoundError:
                continue  # released this moment
        return found


def _kind(place: Path) -> str:
    return f"reservation-{place.stat().st_dev:x}"


def _leased(lines: list[str]) -> Leased:
    artifact = next((Digest(line.removeprefix(_ARTIFACT)) for line in lines if line.startswith(_ARTIFACT)), None)
    return Leased(frozenset(Digest(line) for line in lines if not line.startswith(_ARTIFACT)), artifact)
