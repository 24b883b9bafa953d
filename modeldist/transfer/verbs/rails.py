"""The node's RDMA devices, opened, each with pinned memory to serve from and to receive into.

A device that goes away is closed, since the kernel waits for that before it lets go of it, and opened again when it is
back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from modeldist.scheduler.pieces import MIB
from modeldist.transfer.verbs.detours import Detours
from modeldist.transfer.verbs.shard_pages import ShardPages
from rdma import Rail, RdmaError, discover, rails
from rdma.interface import OpenDevice
from rdma.pool import Pool

SLOT = 4 * MIB  # a part of a piece: four operations, enough to hide a round trip of 0.3 ms at 100 Gb/s
MEMORY = 128 * MIB  # pinned per rail, half to serve from and half to receive into
_LOOK_EVERY = 2.0  # seconds between looks for a device that is away
_LANDING = 2  # threads that hash and write what was received

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OpenRail:
    """An open device and its memory."""

    rail: Rail
    device: OpenDevice
    serving: Pool
    receiving: Pool
    pages: ShardPages | None  # where the store lies in memory

    def close(self) -> None:
        """What moves over it ends first."""
        self.device.close()
        if self.pages is not None:
            self.pages.close()


def find_rails() -> tuple[Rail, ...]:
    """This machine's."""
    return rails(discover())


def open_verbs(rail: Rail) -> OpenDevice:
    """The real device. Imports pyverbs. Raises RdmaError."""
    from rdma.verbs import VerbsDevice

    return VerbsDevice(rail)


class NodeRails:
    """`only` these devices, all when it is empty; `memory` in bytes per rail: half of it to receive into, half to serve
    from. With `in_memory` the store lies there too: then three quarters of what is to serve from are for its own pages,
    and all beyond `MEMORY`. `find` and `open_device` are for tests, `look_every` in seconds.

    `landing` runs what a device's own thread must not wait for."""

    def __init__(
        self,
        *,
        only: Collection[str] = (),
        find: Callable[[], tuple[Rail, ...]] = find_rails,
        open_device: Callable[[Rail], OpenDevice] = open_verbs,
        memory: int = MEMORY,
        in_memory: bool = False,
        slot: int = SLOT,
        look_every: float = _LOOK_EVERY,
    ) -> None:
        self._only = frozenset(only)
        self._find = find
        self._open_device = open_device
        self._slots = max(1, (min(memory, MEMORY) if in_memory else memory) // 2 // slot)
        self._serving = max(1, self._slots // 4) if in_memory else self._slots
        self._pages = memory - (self._slots + self._serving) * slot if in_memory else 0  # bytes
        self._slot = slot
        self._look_every = look_every
        self._open: dict[tuple[str, int], OpenRail] = {}
        self._problems: dict[str, str] = {}
        self._lost: list[OpenRail] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._keep, name="rails", daemon=True)
        self.landing = ThreadPoolExecutor(_LANDING, thread_name_prefix="landing")
        self.detours = Detours()

    def start(self) -> str:
        """Open what there is; a sentence about it for people."""
        self._open_all()
        self._thread.start()
        return self.summary()

    def summary(self) -> str:
        """What there is, or why there is nothing."""
        names = ", ".join(f"{rail.rail.device} ({rail.rail.gid.ip})" for rail in self.rails)
        if names:
            return f"RDMA by {names}."
        if self._problems:
            return "No RDMA, pieces move over TCP: " + " ".join(sorted(self._problems.values()))
        return "No RDMA device that can be used here, pieces move over TCP (`python -m rdma probe` says more)."

    @property
    def rails(self) -> tuple[OpenRail, ...]:
        """Those that can be used now."""
        with self._lock:
            return tuple(rail for rail in self._open.values() if rail.device.gone is None)

    def close(self) -> None:
        """Close all devices: what moves over them ends first."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            opened, self._open = list(self._open.values()), {}
        for rail in opened:
            rail.close()
        self.landing.shutdown()

    def _open_all(self) -> None:
        try:
            found = self._find()
        except OSError as error:
            self._problem("sysfs", f"The devices cannot be listed: {error.strerror or error}.")
            return
        for name in self._only - {rail.device for rail in found}:
            self._problem(name, f"There is no usable device {name}.")
        for rail in found:
            if (rail.device, rail.port) not in self._open and (not self._only or rail.device in self._only):
                self._open_one(rail)

    def _open_one(self, rail: Rail) -> None:
        device = None
        try:
            device = self._open_device(rail)
            serving = Pool(device, slot=self._slot, slots=self._serving)
            receiving = Pool(device, slot=self._slot, slots=self._slots)
            opened = OpenRail(rail, device, serving, receiving, self._pages_of(device))
        except RdmaError as error:
            if device is not None:
                device.close()
            self._problem(rail.device, f"{error} {error.remedy}".strip())
            return
        self._problems.pop(rail.device, None)
        with self._lock:
            self._open[rail.device, rail.port] = opened
        log.info("RDMA by %s, %s", rail.device, rail.gid.ip)
        device.when_gone(lambda reason: self._has_gone(opened, reason))

    def _pages_of(self, device: OpenDevice) -> ShardPages | None:
        parts = self._slots - self._serving
        return ShardPages(device, memory=self._pages, slot=self._slot, parts=parts) if parts else None

    def _problem(self, device: str, text: str) -> None:
        if self._problems.get(device) != text:
            self._problems[device] = text
            log.warning("no RDMA by %s: %s", device, text)

    def _has_gone(self, rail: OpenRail, reason: RdmaError) -> None:
        """From the device's thread, or from whoever closes it."""
        if not self._closing:
            log.warning("RDMA by %s has ended: %s", rail.rail.device, reason)
            with self._lock:
                self._lost.append(rail)
            self._wake.set()

    def _keep(self) -> None:
        while not self._closing:
            self._wake.wait(self._look_every)
            self._wake.clear()
            try:
                self._look_after()
            except Exception:  # a device whose removal waits for us must not wait for ever
                log.exception("the RDMA devices could not be looked after")

    def _look_after(self) -> None:
        """Close what was lost, let go of what nobody uses, open what is back."""
        with self._lock:
            lost, self._lost = self._lost, []
        for rail in lost:
            with self._lock:
                self._open.pop((rail.rail.device, rail.rail.port), None)
            rail.close()
        for rail in self.rails:
            if rail.pages is not None:
                rail.pages.let_go_of_unused()
        if not lost and not self._closing:  # what was lost just now is not there yet
            self._open_all()
