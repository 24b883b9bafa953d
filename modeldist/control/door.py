"""Accepts connections: few at a time, so that a storm of agents that join does not hold up those that are here.

After a restart thousands of agents connect at once. What waits in the kernel costs nothing; what is accepted costs a
handshake, a greeting and an inventory, each in the next turns of the event loop. So each turn takes in a few, and more
only when turns are long for other reasons, so that joining never stands still.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
import ssl
from collections.abc import Callable

log = logging.getLogger(__name__)

LEAST = 8  # connections per turn
MOST = 64
JOINING = 0.0015  # seconds of work that an agent which joins makes
SHARE = 0.25  # of a long turn, to be spent on agents that join
FORGOTTEN = 1.0  # seconds; who comes alone is no storm
HANDSHAKE_WITHIN = 10.0  # seconds, for TLS
MOST_SHAKING = 1024  # connections in their handshake; beyond it the oldest goes for every new one
FULL_PAUSE = 1.0  # seconds before a process without free descriptors tries again
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Door:
    """Opens at once, on the running event loop. `protocol` makes one protocol per connection."""

    def __init__(
        self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None
    ) -> None:
        self._listening = listening
        self._protocol = protocol
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._last = float("-inf")
        self._entering: dict[asyncio.Task[None], None] = {}  # oldest first
        self._pause: asyncio.TimerHandle | None = None
        self._open()

    def close(self) -> None:
        """No more connections; those accepted stay."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)

    def _open(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._knock)

    def _knock(self) -> None:
        now = self._loop.time()
        turn, self._last = now - self._last, now
        room = LEAST if turn > FORGOTTEN else min(MOST, max(LEAST, int(turn * SHARE / JOINING)))
        for _ in range(room):
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._refuse(error)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._enter(connection), name="accept")
            self._entering[task] = None
            task.add_done_callback(lambda task: self._entering.pop(task, None))
            if len(self._entering) > MOST_SHAKING:  # strangers may, without a token; who means it takes moments
                oldest = next(iter(self._entering))
                del self._entering[oldest]
                oldest.cancel()

    async def _enter(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_WITHIN if self._tls else None
            )
        except OSError as error:  # it left again, or speaks no TLS
            log.debug("a connection did not come about: %s", error)
            connection.close()

    def _refuse(self, error: OSError) -> None:
        """Those who wait stay in the kernel's queue meanwhile."""
        if error.errno not in _FULL:
            raise error
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        log.error(
            "No more agents can connect: %s (this process may open %d files, and each agent needs one). Raise the hard "
            "limit: ulimit -Hn, or LimitNOFILE= of the systemd unit.",
            error.strerror,
            soft,
        )
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(FULL_PAUSE, self._open)
