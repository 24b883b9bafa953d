"""Pieces over TCP by kernel zero-copy: `sendfile` out, `splice` in, in plain threads with blocking sockets.

`TcpPieceServer` serves, `TcpTransport` fetches. May import transfer.*, scheduler.pieces, artifact. Which thread does
what: docs/adr/0007-piece-protocol-and-threads.md.
"""

from modeldist.transfer.tcp.server import TcpPieceServer
from modeldist.transfer.tcp.server_timeouts import ServerTimeouts
from modeldist.transfer.tcp.transport import TcpTransport

__all__ = ["ServerTimeouts", "TcpPieceServer", "TcpTransport"]
