"""How much one child is sent at a time, from how fast it takes it.

On a fast link large blocks and the kernel's own buffering cost the least CPU. On a slow one they would make everything
written after them wait: megabytes in the send buffer are tenths of a second there, and a have-update that arrives late
delays the next hop of the swarm. So a slow child gets small blocks and little is left unsent in the kernel.
"""

from __future__ import annotations

import socket

from modeldist.transfer.frames import MAX_BLOCK

_FAST = 200e6  # bytes/s; above it the kernel decides
_AHEAD = 0.02  # seconds' worth in a block, and unsent in the kernel
_SMALLEST = 256 * 1024
_SMOOTHING = 0.25


class SendPace:
    """Told of every block, says how large the next one is."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rate = _FAST
        self._unsent_limit = 0
        self.block = MAX_BLOCK

    def sent(self, count: int, seconds: float) -> None:
        """`count` bytes went into the socket within `seconds`."""
        sample = count / max(seconds, 1e-6)
        self._rate += _SMOOTHING * (min(sample, 4 * _FAST) - self._rate)
        ahead = int(self._rate * _AHEAD)
        self.block = min(max(1 << ahead.bit_length() >> 1, _SMALLEST), MAX_BLOCK)
        self._limit_unsent(0 if self._rate >= _FAST else self.block)

    def _limit_unsent(self, wanted: int) -> None:
        """Tell the kernel, but not for small changes; 0 is its own default."""
        if wanted == self._unsent_limit or self._unsent_limit / 2 < wanted < self._unsent_limit * 2:
            return
        self._unsent_limit = wanted
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, wanted)
