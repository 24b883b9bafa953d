"""Which sockets a process listens on, as the kernel has it: asked of nobody, so that none is left out."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

import psutil

_LISTEN = "0A"  # linux/include/net/tcp_states.h
_ACCEPTS = 1 << 16  # __SO_ACCEPTCON
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, order=True)
class Listening:
    """`kind`: tcp, udp, raw, unix. `where`: host:port, or a path (`@…`: an abstract name, which has no mode)."""

    kind: str
    where: str


def listening(pid: int) -> set[Listening]:
    """Of a process and of all that it has started."""
    found: set[Listening] = set()
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        inodes = _sockets(process.pid)
        found |= {socket_ for inode, socket_ in _network(process.pid) if inode in inodes}
        found |= {socket_ for inode, socket_ in _unix(process.pid) if inode in inodes}
    return found


def _sockets(pid: int) -> set[str]:
    inodes = set()
    for name in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(name.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        if match := _SOCKET.fullmatch(target):
            inodes.add(match[1])
    return inodes


def _network(pid: int) -> list[tuple[str, Listening]]:
    """Streams that listen, and datagrams that anybody may send: those of no particular peer."""
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        path = Path(f"/proc/{pid}/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, local, remote, state, *_, inode = line.split()[:10]
            kind = table.removesuffix("6")
            if state == _LISTEN if kind == "tcp" else int(remote.split(":")[0], 16) == 0:
                found.append((inode, Listening(kind, _address(local))))
    return found


def _unix(pid: int) -> list[tuple[str, Listening]]:
    found = []
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        _, _, _, flags, _, _, inode, *path = line.split(maxsplit=7)
        if int(flags, 16) & _ACCEPTS:
            found.append((inode, Listening("unix", path[0] if path else "")))
    return found


def _address(text: str) -> str:
    """Of `0100007F:1F90`: words of 32 bits in the machine's own order."""
    host, port = text.split(":")
    words = struct.pack(f"={len(host) // 8}I", *(int(host[at : at + 8], 16) for at in range(0, len(host), 8)))
    address = ipaddress.ip_address(words)
    return f"[{address}]:{int(port, 16)}" if address.version == 6 else f"{address}:{int(port, 16)}"


def listens_itself() -> None:
    """The reader sees what this process opens. Raises AssertionError."""
    with socket.create_server(("127.0.0.1", 0)) as opened, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0modeldist-test-" + str(os.getpid()))
        abstract.listen(1)
        seen = listening(os.getpid())
        assert Listening("tcp", f"127.0.0.1:{opened.getsockname()[1]}") in seen, seen
        assert Listening("unix", f"@modeldist-test-{os.getpid()}") in seen, seen
