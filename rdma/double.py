"""The interface in memory, for tests of what is built on it: reads copy, keys open what they were made for, and devices
can be removed and separated. Held to the same conformance suite as the real one (`tests/verbs/conformance.py`)."""

from __future__ import annotations

import itertools
import math
import mmap
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from rdma.errors import AccessRefused, DeviceGone, QueuePairBroken, RdmaError, RegistrationRefused, Unreachable
from rdma.interface import Endpoint, Memory, OnRead, RemoteRange

_MTU, _READS = 4096, 16


class MemoryFabric:
    """Devices that reach each other. `lock` guards all of it: a read sees a key whole or revoked."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pairs: dict[int, MemoryQueuePair] = {}
        self.numbers = itertools.count(1)
        self.addresses = itertools.count(1 << 32, 1 << 32)
        self._cut: set[frozenset[str]] = set()

    def device(self, name: str) -> MemoryDevice:
        return MemoryDevice(self, name)

    def separate(self, one: str, other: str) -> None:
        """No packet passes between two devices any more."""
        with self.lock:
            self._cut.add(frozenset((one, other)))

    def apart(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self._cut


class MemoryRegion:
    """Registered memory of the double. `data` is what the device moves; a dma-buf's is not in view of the process."""

    def __init__(
        self, device: MemoryDevice, data: memoryview, *, in_view: bool = True, readable_only: bool = False
    ) -> None:
        self.address = next(device.fabric.addresses)
        self.data = data
        self.view = data if in_view else None
        self.length = len(data)
        self.readable_only = readable_only
        self._device = device

    def close(self) -> None:
        with self._device.fabric.lock:
            self._device.registered.discard(self)


class MemoryDevice:
    """Made by `MemoryFabric.device`. `remove` is a fault; another are `lockable` bytes, of which no more can be
    `registered` at a time."""

    def __init__(self, fabric: MemoryFabric, name: str) -> None:
        self.fabric = fabric
        self.name = name
        self.gone: RdmaError | None = None
        self.lockable: float = math.inf
        self.registered: set[MemoryRegion] = set()
        self._when_gone: list[Callable[[RdmaError], None]] = []
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"rdma {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def post(self, work: Callable[[], None]) -> None:
        """Call from the device's thread, in order."""
        self._work.put(work)

    def allocate(self, length: int) -> MemoryRegion:
        try:
            data = bytearray(length)
        except (MemoryError, OverflowError) as error:
            raise RegistrationRefused(f"The system gives no {length} bytes to register for {self.name}.") from error
        return self.register(memoryview(data))

    def register(self, buffer: memoryview, *, readable_only: bool = False) -> MemoryRegion:
        return self._registered(MemoryRegion(self, buffer.cast("B"), readable_only=readable_only))

    def register_dmabuf(self, fd: int, offset: int, length: int) -> MemoryRegion:
        """Any file that can be mapped stands in for a dma-buf."""
        start = offset % mmap.ALLOCATIONGRANULARITY
        try:
            pages = mmap.mmap(fd, start + length, offset=offset - start)
        except (OSError, ValueError) as error:
            raise RegistrationRefused(f"{self.name} would not register {length} bytes: {error}.") from error
        return self._registered(MemoryRegion(self, memoryview(pages)[start:], in_view=False))

    def _registered(self, region: MemoryRegion) -> MemoryRegion:
        with self.fabric.lock:
            self._check()
            if self.locked + region.length > self.lockable:
                raise RegistrationRefused(f"{self.name} would not register {region.length} bytes.")
            self.registered.add(region)
            return region

    @property
    def locked(self) -> int:
        """Bytes registered now."""
        with self.fabric.lock:
            return sum(region.length for region in self.registered)

    def queue_pair(self) -> MemoryQueuePair:
        self._check()
        return MemoryQueuePair(self)

    def _check(self) -> None:
        if self.gone is not None:
            raise self.gone

    def when_gone(self, callback: Callable[[RdmaError], None]) -> None:
        with self.fabric.lock:
            if self.gone is None:
                self._when_gone.append(callback)
                return
        callback(self.gone)

    def remove(self) -> None:
        """As when somebody deletes the device."""
        self._lose(DeviceGone(f"{self.name} was removed."))

    def close(self) -> None:
        self._lose(DeviceGone(f"{self.name} was closed."))
        for region in list(self.registered):
            region.close()
        self._work.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _lose(self, failure: RdmaError) -> None:
        with self.fabric.lock:
            if self.gone is not None:
                return
            self.gone = failure
            pairs = [pair for pair in self.fabric.pairs.values() if pair.device is self]
            callbacks, self._when_gone = self._when_gone, []
        for pair in pairs:
            pair.fail(failure)
        for callback in callbacks:
            callback(failure)


@dataclass
class _Read:
    source: RemoteRange
    into: MemoryRegion
    offset: int
    on_read: OnRead


class MemoryQueuePair:
    """One end of a connection of the double."""

    def __init__(self, device: MemoryDevice) -> None:
        self.device = device
        self.broken: RdmaError | None = None
        self.other: Endpoint | None = None
        self._reads: list[_Read] = []
        self._exposed: dict[int, tuple[MemoryRegion, RemoteRange]] = {}
        fabric = device.fabric
        with fabric.lock:
            number = next(fabric.numbers)
            self.endpoint = Endpoint(number, number.to_bytes(16), 0, 0, _MTU, _READS)
            fabric.pairs[number] = self

    def connect(self, other: Endpoint) -> None:
        with self.device.fabric.lock:
            self._check()
            self.other = other

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken

    def expose(self, memory: Memory, offset: int, length: int) -> MemoryExposure:
        assert isinstance(memory, MemoryRegion)
        if offset < 0 or length < 1 or offset + length > memory.length:
            raise ValueError(f"{length} bytes from {offset} are not within {memory.length}")
        with self.device.fabric.lock:
            self._check()
            key = next(self.device.fabric.numbers)
            remote = RemoteRange(memory.address + offset, length, key)
            self._exposed[key] = (memory, remote)
            return MemoryExposure(self, remote)

    def conceal(self, remote: RemoteRange) -> None:
        with self.device.fabric.lock:
            self._exposed.pop(remote.key, None)

    def read(self, source: RemoteRange, into: Memory, offset: int, on_read: OnRead) -> None:
        assert isinstance(into, MemoryRegion)
        if offset < 0 or offset + source.length > into.length:
            raise ValueError(f"{source.length} bytes at {offset} are not within {into.length}")
        with self.device.fabric.lock:
            failure = self.broken
            if failure is None:
                self._reads.append(_Read(source, into, offset, on_read))
                self.device.post(self._next)
        if failure is not None:
            on_read(failure)

    def _next(self) -> None:
        """In the device's thread: the oldest read."""
        with self.device.fabric.lock:
            if not self._reads:
                return
            failure = self._copy(self._reads[0])
            read = self._reads.pop(0) if failure is None else None
        if read is not None:
            read.on_read(None)
        elif failure is not None:
            self.fail(failure)

    def _copy(self, read: _Read) -> RdmaError | None:
        fabric = self.device.fabric
        parent = fabric.pairs.get(self.other.number) if self.other else None
        if parent is None or parent.broken or fabric.apart(self.device.name, parent.device.name):
            return Unreachable(f"The other side did not answer {self.device.name}.")
        exposed = parent._exposed.get(read.source.key) if parent.other == self.endpoint else None
        if exposed is None or not _covers(exposed[1], read.source):
            return AccessRefused("The other side refused a read: its key was revoked or is wrong.")
        if read.into.readable_only:
            return QueuePairBroken(f"An operation failed on {self.device.name}: a protection error.")
        memory, at = exposed[0], read.source.address - exposed[0].address
        read.into.data[read.offset : read.offset + read.source.length] = memory.data[at : at + read.source.length]
        return None

    def fail(self, failure: RdmaError) -> None:
        with self.device.fabric.lock:
            if self.broken is not None:
                return
            self.broken = failure
            self._exposed.clear()
            self.device.fabric.pairs.pop(self.endpoint.number, None)
            reads, self._reads = self._reads, []
        for read in reads:
            read.on_read(failure)

    def close(self) -> None:
        self.fail(QueuePairBroken("The queue pair was closed."))


@dataclass(frozen=True)
class MemoryExposure:
    """An exposed range of the double."""

    pair: MemoryQueuePair
    remote: RemoteRange

    def revoke(self) -> None:
        self.pair.conceal(self.remote)


def _covers(exposed: RemoteRange, wanted: RemoteRange) -> bool:
    return exposed.address <= wanted.address and wanted.address + wanted.length <= exposed.address + exposed.length
