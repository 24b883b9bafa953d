"""A server that takes its time: it says nothing at all, or answers a byte at a time.

with SlowServer(head=b"HTTP/1.1 200 OK\\r\\nContent-Length: 100000\\r\\n\\r\\n", drip=b" ") as server:
    server.host
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_PAUSE = 0.01  # seconds between two drips


class SlowServer:
    """`head` is sent at once after a request's first bytes, then `drip` again and again; nothing more when empty."""

    def __init__(self, *, head: bytes = b"", drip: bytes = b"") -> None:
        self._head = head
        self._drip = drip
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self.requests = 0
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            if sock.recv(65536):
                self.requests += 1
                sock.sendall(self._head)
                while not self._over.wait(_PAUSE):
                    if self._drip:
                        sock.sendall(self._drip)
                    elif not _there(sock):
                        return


def _there(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(65536, socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
