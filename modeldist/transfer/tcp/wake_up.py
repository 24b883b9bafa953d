"""How other threads wake a thread that waits for its socket."""

from __future__ import annotations

import os
import select
import socket
import threading


class WakeUp:
    """`wait` and `close` belong to the waiting thread, `set` to everyone. Raises OSError when no descriptor is left."""

    def __init__(self, sock: socket.socket) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._is_set = False
        self._closed = False
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._poll.register(self._event, select.POLLIN)

    def set(self) -> None:
        """End the wait that is under way, or the next one. Costs a system call only the first time."""
        with self._lock:
            if not self._is_set and not self._closed:
                self._is_set = True
                os.eventfd_write(self._event, 1)

    def wait(self, seconds: float) -> None:
        """Until the socket can be read, `set` was called, or the time is over."""
        self._poll.poll(max(1, int(seconds * 1000)))
        with self._lock:
            if self._is_set:
                self._is_set = False
                os.eventfd_read(self._event)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            os.close(self._event)
