"""Who listens on a unix socket: what an agent answers is a directory of models that programs then run."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from modeldist.errors import AgentError

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid; ucred of unix(7)


def check_listener(connected: socket.socket, path: Path) -> None:
    """That it is this user, root, or whose directory the socket is in; in one where everybody may put sockets, anybody
    could be there before the agent. Raises AgentError."""
    me = os.geteuid()
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, who, _ = _CREDENTIALS.unpack(raw)
    if me == 0 or who in (me, 0, path.absolute().parent.stat().st_uid):
        return
    raise AgentError(
        f"Another user (uid {who}) listens on {path}, and nothing of theirs is to be trusted.",
        remedy="Have the agent listen in a directory of its own user: --socket, MODELDIST_SOCKET.",
    )
