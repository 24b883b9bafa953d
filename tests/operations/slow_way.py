"""A way to a server on loopback that lets no more through than it is told: a slow uplink, shared by all connections."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

_BLOCK = 16 * 1024  # bytes
_KEPT = 64 * 1024  # bytes of a socket's buffers: what is in them has passed


class SlowWay:
    """Listens at once on `address`, and passes what comes on to `target`, host:port. `rate`: bytes/s from there."""

    def __init__(self, target: str, rate: float) -> None:
        self.rate = rate
        self.target = target
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                host, _, port = self.target.rpartition(":")
                far = socket.socket()
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KEPT)
                far.connect((host, int(port)))
                near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KEPT)
                self._open += [near, far]
                threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, limited: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_BLOCK):
                if limited:
                    self._await_turn(len(data))
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _await_turn(self, count: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self.rate
            wait = self._free_at - now
        time.sleep(wait)
