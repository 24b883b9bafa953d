"""A node's piece server over TCP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from modeldist.transfer.base import CheckCapability, ServedLoad, ServerLimits, ShardDirectory
from modeldist.transfer.rate_limit import RateLimit
from modeldist.transfer.served_account import ServedAccount
from modeldist.transfer.tcp.addresses import join_address
from modeldist.transfer.tcp.child import Serving
from modeldist.transfer.tcp.desk import Desk
from modeldist.transfer.tcp.herald import Herald
from modeldist.transfer.tcp.server_timeouts import ServerTimeouts
from modeldist.transfer.tls.security import PieceSecurity
from modeldist.transfer.verbs.rails import NodeRails


class TcpPieceServer:
    """Serves the pieces of `directory` from the moment it is made until `close`.

    `host` an IP address or name to listen on, `port` 0 for any free one; `node` this node's id; `check` decides which
    child may read which shard; `rails`: children that have RDMA may read by it; `security`: whether they have to speak
    TLS; `clock` in seconds, monotonic. Raises OSError when it cannot listen.
    """

    def __init__(
        self,
        directory: ShardDirectory,
        *,
        host: str,
        port: int = 0,
        check: CheckCapability,
        limits: ServerLimits = ServerLimits(),  # noqa: B008 - frozen
        node: str,
        timeouts: ServerTimeouts = ServerTimeouts(),  # noqa: B008 - frozen
        rails: NodeRails | None = None,
        security: PieceSecurity | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = ServedAccount(limits.requests_in_service, clock)
        rate = RateLimit(limits.upload_rate, clock)
        listener = _listen(host, port)
        self._herald = Herald(directory)
        serving = Serving(node, check, self._account, rate, timeouts, self._herald, rails, clock)
        self._address = join_address(*listener.getsockname()[:2])
        self._desk = Desk(listener, serving, limits, security or PieceSecurity())
        self._desk.start()
        self._closing = threading.Lock()
        self._closed = False

    @property
    def address(self) -> str:
        """host:port"""
        return self._address

    def load(self) -> ServedLoad:
        return self._account.load()

    def security_changed(self) -> None:
        """Children that are served in the clear go, where that is no longer allowed."""
        with self._closing:
            if not self._closed:
                self._desk.security_changed()

    def close(self) -> None:
        """End all connections; returns when no thread and no descriptor is left. Twice is no harm."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._desk.close()
                self._herald.close()


def _listen(host: str, port: int) -> socket.socket:
    family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener
