"""A link of a given rate to a server on loopback: so many bytes a second for all its connections together.

`python -m modeldist.bench.shaped_link PORT RATE` (bytes/s) prints the port it listens on. A process of its own, so
that no interpreter of who is measured waits for it; bytes go by splice.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_AT_ONCE = 256 << 10  # bytes
_BURST = 0.01  # seconds that the link may be behind


class _Bucket:
    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def take(self, size: int) -> None:
        """Return when so many bytes have passed."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - _BURST) + size / self._rate
            pause = self._free_at - now
        if pause > 0:
            time.sleep(pause)


@contextmanager
def shaped_link(port: int, rate: float) -> Iterator[int]:
    """To the server on this port; the port to use instead."""
    command = [sys.executable, "-m", "modeldist.bench.shaped_link", str(port), str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def main(port: int, rate: float) -> None:
    bucket = _Bucket(rate)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_up, args=(client, server), daemon=True).start()
            threading.Thread(target=_down, args=(server, client, bucket), daemon=True).start()


def _up(client: socket.socket, server: socket.socket) -> None:
    with suppress(OSError):
        while part := client.recv(65536):
            server.sendall(part)
    with suppress(OSError):
        server.shutdown(socket.SHUT_WR)


def _down(server: socket.socket, client: socket.socket, bucket: _Bucket) -> None:
    out, into = os.pipe()
    with server, client, suppress(OSError):
        while size := os.splice(server.fileno(), into, _AT_ONCE):
            bucket.take(size)
            while size:
                size -= os.splice(out, client.fileno(), size)
    os.close(out)
    os.close(into)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
