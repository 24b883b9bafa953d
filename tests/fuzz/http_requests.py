"""Requests over HTTP made of an input, and what is answered to them over a real socket."""

from __future__ import annotations

import socket
from dataclasses import dataclass

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS")
OURS = (b"content-length", b"transfer-encoding", b"connection", b"expect")
RAW = b"!"


@dataclass(frozen=True)
class Answer:
    """`status` 0: the connection was closed without one."""

    status: int
    head: bytes
    body: bytes


def written(data: bytes) -> bytes:
    """An input is a line with method and target, lines with headers, an empty one and the body: made a whole request.
    One that begins with "!" is sent as it is."""
    if data.startswith(RAW):
        return data[1:]
    head, _, body = data.partition(b"\n\n")
    first, *rest = head.split(b"\n")
    method, _, target = first.partition(b" ")
    shown = bytes(sign for sign in target if 32 < sign < 127)
    lines = [b"%s %s HTTP/1.1" % (method if method in METHODS else b"GET", shown or b"/")]
    seen = set()
    for line in rest[:50]:
        name, colon, value = line.partition(b":")
        if colon and name.replace(b"-", b"").isalnum() and name.isascii() and name.lower() not in OURS:
            if name.lower() == b"host" and name.lower() in seen:
                continue  # a second one is refused by the server's parser, and nothing of ours is asked
            seen.add(name.lower())
            lines.append(name + b": " + bytes(sign for sign in value if sign >= 32 and sign != 127).strip())
    lines += [] if b"host" in seen else [b"Host: localhost"]
    lines += [b"Content-Length: %d" % len(body), b"Connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def ask(sock: socket.socket, data: bytes, *, patience: float = 8.0, enough: int = 1 << 20) -> Answer:
    """Raises TimeoutError when a whole request has no end of its answer in time; one sent as it is may be half of one,
    and is left after a moment."""
    raw = data.startswith(RAW)
    sock.settimeout(0.02 if raw else patience)
    heard = b""
    try:
        sock.sendall(written(data))
        while len(heard) < enough and (part := sock.recv(1 << 16)):
            heard += part
    except ConnectionError:
        pass
    except TimeoutError:
        if not raw:
            raise
    return _answer(heard)


def _answer(heard: bytes) -> Answer:
    """The last of those that say 1xx before it."""
    while True:
        head, _, rest = heard.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 "):
            assert not head or not head.startswith(b"HTTP"), head[:100]
            return Answer(0, head, rest)
        status = int(head[9:12])
        if status >= 200 or not rest:
            return Answer(status, head, rest)
        heard = rest
