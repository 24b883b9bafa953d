"""Slots of one long-lived registration: memory is pinned once, and handed out and taken back for nothing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from rdma.interface import Memory, OpenDevice


class Slot:
    """Part of a pool's memory, its holder's until `release`."""

    def __init__(self, pool: Pool, offset: int, length: int) -> None:
        self._pool = pool
        self.offset = offset
        self.length = length

    @property
    def memory(self) -> Memory:
        return self._pool.memory

    @property
    def view(self) -> memoryview:
        """The slot's bytes."""
        whole = self._pool.memory.view
        assert whole is not None, "a pool allocates memory of its own"
        return whole[self.offset : self.offset + self.length]

    def release(self) -> None:
        """Give it back, once."""
        self._pool._take_back(self)


class Pool:
    """`slots` slots of `slot` bytes each. Raises RegistrationRefused when so much cannot be pinned."""

    def __init__(self, device: OpenDevice, *, slot: int, slots: int) -> None:
        self.memory = device.allocate(slot * slots)
        self._free = deque(Slot(self, number * slot, slot) for number in range(slots))
        self._out: set[Slot] = set()
        self._waiting: deque[Callable[[Slot], None]] = deque()
        self._lock = threading.Lock()
        self.slot = slot
        self.slots = slots

    @property
    def free(self) -> int:
        return len(self._free)

    def take(self) -> Slot | None:
        """A free slot; None while there is none: the caller has no credit to give."""
        with self._lock:
            if not self._free:
                return None
            slot = self._free.popleft()
            self._out.add(slot)
            return slot

    def when_free(self, callback: Callable[[Slot], None]) -> None:
        """Hand a slot to `callback`: now, or when one comes free, first come first served. It may come from whichever
        thread gives a slot back, and must return at once."""
        slot = self.take()
        if slot is None:
            with self._lock:
                if not self._free:
                    self._waiting.append(callback)
                    return
                slot = self._free.popleft()
                self._out.add(slot)
        callback(slot)

    def _take_back(self, slot: Slot) -> None:
        with self._lock:
            self._out.remove(slot)  # a slot given back twice would be two holders' at once
            if not self._waiting:
                self._free.append(slot)
                return
            self._out.add(slot)
            callback = self._waiting.popleft()
        callback(slot)

    def close(self) -> None:
        """Unpin it. What reads or is read of it must have ended."""
        self.memory.close()
