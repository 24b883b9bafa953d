"""Options of the data plane's sockets. They stay blocking: `sendfile` and `splice` wait in the kernel, without the GIL,
and a wait that brings nothing for a while ends with BlockingIOError by the kernel's own timeouts."""

from __future__ import annotations

import socket
import struct


def tune(sock: socket.socket, *, stall: float) -> None:
    """For both ends. `stall` in seconds: sent bytes that nobody acknowledges for so long end the connection."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(stall * 1000)))


def tune_sender(sock: socket.socket, *, stall: float) -> None:
    """A send that makes no progress for `stall` seconds raises BlockingIOError."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(stall))


def tune_receiver(sock: socket.socket, *, tick: float) -> None:
    """A receive that brings nothing for `tick` seconds raises BlockingIOError."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(tick))


def _timeval(seconds: float) -> bytes:
    micros = max(1000, int(seconds * 1e6))
    return struct.pack("@ll", micros // 1_000_000, micros % 1_000_000)
