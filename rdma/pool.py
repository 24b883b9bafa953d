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
        self._handing_out = False
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
        """Hand a slot to `callback`: now, or when one comes free. It may come from whichever thread gives a slot back,
        and must return at once. Callbacks are called one after the other, in the order in which they were given: what
        reads into slots in order relies on that."""
        with self._lock:
            self._waiting.append(callback)
        self._hand_out()

    def _take_back(self, slot: Slot) -> None:
        with self._lock:
            self._out.remove(slot)  # a slot given back twice would be two holders' at once
            self._free.append(slot)
        self._hand_out()

    def _hand_out(self) -> None:
        """One thread at a time, and not from within a callback that gives its slot back at once: that is a loop here,
        not a recursion, however many wait."""
        with self._lock:
            if self._handing_out:
                return
            self._handing_out = True
        while True:
            with self._lock:
                if not (self._free and self._waiting):
                    self._handing_out = False
                    return
                slot = self._free.popleft()
                self._out.add(slot)
                callback = self._waiting.popleft()
            try:
                callback(slot)
            except BaseException:
                with self._lock:
                    self._handing_out = False
                raise

    def close(self) -> None:
        """Unpin it. What reads or is read of it must have ended."""
        self.memory.close()
