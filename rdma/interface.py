"""What an opened device offers, whoever makes it: `rdma.verbs` on real devices, `rdma.double` in memory.

A parent (who has bytes) and a child (who reads them) each make a queue pair, tell each other its `Endpoint` over a
connection they have already, and `connect`. The parent exposes a range of registered memory and tells the child its
`RemoteRange`; the child reads it into registered memory of its own; the parent revokes. Only one-sided reads: the
parent's CPU takes no part in them.

All methods may be called from any thread, `expose` not from a callback. Callbacks come from the device's own thread and
must return at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rdma.errors import RdmaError

OPERATION = 1 << 20  # bytes a read operation moves at most: large enough that the CPU's share of it is small


@dataclass(frozen=True)
class Endpoint:
    """What the other side must know of a queue pair to connect to it.

    `gid` is 16 bytes; `lid` is 0 but on InfiniBand. `packet` is the first packet number (24 bits), `mtu` the bytes in a
    packet, `reads` how many read operations it answers at the same time.
    """

    number: int
    gid: bytes
    lid: int
    packet: int
    mtu: int
    reads: int

    def __post_init__(self) -> None:
        """Raises ValueError for what no queue pair can have: endpoints come from other machines."""
        if (
            not 0 <= self.number < 1 << 24
            or len(self.gid) != 16
            or not 0 <= self.lid < 1 << 16
            or not 0 <= self.packet < 1 << 24
            or self.mtu not in (256, 512, 1024, 2048, 4096)
            or not 0 <= self.reads <= 255
        ):
            raise ValueError(f"no queue pair is like this: {self!r}")


@dataclass(frozen=True)
class RemoteRange:
    """A range of the other side's memory that may be read until it is revoked there: address and length in bytes, and
    the key that opens it."""

    address: int
    length: int
    key: int

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be: ranges come from other machines."""
        if self.address < 0 or self.length < 1 or self.address + self.length > 1 << 64 or not 0 <= self.key < 1 << 32:
            raise ValueError(f"no memory is like this: {self!r}")

    def part(self, offset: int, length: int) -> RemoteRange:
        """`length` bytes from `offset`. Raises ValueError outside the range."""
        if offset < 0 or offset + length > self.length:
            raise ValueError(f"{length} bytes from {offset} are not within {self.length}")
        return RemoteRange(self.address + offset, length, self.key)


class Memory(Protocol):
    """Registered memory. Closing it is refused by nobody: end what uses it before."""

    @property
    def length(self) -> int: ...
    @property
    def view(self) -> memoryview | None:
        """The bytes; None where this process cannot touch them (a dma-buf)."""

    def close(self) -> None: ...


class Exposure(Protocol):
    """A range that the other side of one queue pair may read."""

    @property
    def remote(self) -> RemoteRange:
        """What to tell the other side."""

    def revoke(self) -> None:
        """From when this returns nobody reads the range by this key. A read that comes later breaks its queue pair."""


OnRead = Callable[[RdmaError | None], None]
"""Called once: None when all bytes are there. After an error nothing touches the destination any more."""


class QueuePair(Protocol):
    """One end of a reliable connection."""

    @property
    def endpoint(self) -> Endpoint: ...
    @property
    def broken(self) -> RdmaError | None:
        """Why it is of no more use."""

    def connect(self, other: Endpoint) -> None:
        """Once, on both sides, before anything is read. Raises Unreachable, DeviceGone, QueuePairBroken."""

    def expose(self, memory: Memory, offset: int, length: int) -> Exposure:
        """Let the other side read `length` bytes from `offset`, and nothing else, until it is revoked. Raises
        ValueError outside the memory, DeviceGone, QueuePairBroken."""

    def read(self, source: RemoteRange, into: Memory, offset: int, on_read: OnRead) -> None:
        """Read the whole of `source` to `offset` of `into`; returns at once. Reads are pipelined and end in order. An
        error breaks the queue pair, and with it everything outstanding on it. Raises ValueError when it does not
        fit."""

    def close(self) -> None:
        """End it. What is outstanding ends as QueuePairBroken before this returns."""


class OpenDevice(Protocol):
    """One port of one device, opened."""

    @property
    def name(self) -> str: ...
    @property
    def gone(self) -> RdmaError | None:
        """Why it is of no more use."""

    def allocate(self, length: int) -> Memory:
        """Registered memory of its own, in huge pages where there are any. Raises RegistrationRefused, DeviceGone."""

    def register(self, buffer: memoryview, *, readable_only: bool = False) -> Memory:
        """Register writable memory of the caller's: anonymous, or of a file on tmpfs or hugetlbfs (pages of other files
        cannot be kept where they are). `readable_only`: it can be exposed, and the device never writes to it: a read
        into it fails, and breaks its queue pair. The mapping must be writable all the same, since the kernel takes
        memory that windows can be bound to as written to (`ib_access_writable`).

        Raises RegistrationRefused, DeviceGone."""

    def register_dmabuf(self, fd: int, offset: int, length: int) -> Memory:
        """Register a range of a dma-buf, such as a GPU's memory, as a destination. Raises RegistrationRefused,
        DeviceGone."""

    def queue_pair(self) -> QueuePair:
        """A new one. Raises DeviceGone, QueuePairBroken when the device has no more of them."""

    def when_gone(self, callback: Callable[[RdmaError], None]) -> None:
        """Call back once when the device is removed or its port goes down; at once when it has."""

    def close(self) -> None:
        """Close it and all that was made of it."""
