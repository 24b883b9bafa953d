"""One thread a device that sleeps until something happens on one of its descriptors."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class EventThread(threading.Thread):
    """Calls back when a watched descriptor becomes readable, and `on_tick` every `tick` seconds."""

    def __init__(self, name: str, *, tick: float, on_tick: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._tick = tick
        self._on_tick = on_tick
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._stopped = False

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._callbacks[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Before the descriptor is closed. A callback may be on its way still."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def wake(self) -> None:
        """Have `on_tick` called now."""
        os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """End it, and wait unless called from a callback."""
        self._stopped = True
        self.wake()
        if threading.current_thread() is not self:
            self.join()

    def run(self) -> None:
        next_tick = time.monotonic() + self._tick
        while not self._stopped:
            ready = self._epoll.poll(self._tick)
            for descriptor, _ in ready:
                if callback := self._callbacks.get(descriptor):
                    _call(callback)
                elif descriptor == self._wake:
                    os.eventfd_read(self._wake)
                    _call(self._on_tick)
            if time.monotonic() >= next_tick:  # also while there is always something ready
                next_tick = time.monotonic() + self._tick
                _call(self._on_tick)
        self._epoll.close()
        os.close(self._wake)


def _call(callback: Callable[[], None]) -> None:
    """One callback's mistake must not leave the others waiting."""
    try:
        callback()
    except Exception:
        log.exception("an RDMA event could not be handled")
