"""What the HTTP test servers share: a threaded HTTP/1.1 server on an ephemeral port with a request log, faults on
demand and ranged answers from bytes or files (by sendfile, so a sparse file of many GB costs no memory).

    server = SomeServer()                    # serves at once; `server.url`
    server.fail(Fault(status=503, times=2))  # the next two requests
    server.requests                          # what was asked, and how many body bytes went out
    server.close()                           # or use it as a context manager
"""

from __future__ import annotations

import os
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Content = bytes | Path
_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")
_SLICE = 1 << 20


@dataclass
class Fault:
    """Something going wrong for the next `times` requests whose path contains `path` (and, when given, whose method
    is `method`). Set one of:

    status         answer this status with no body (with `headers`, e.g. {"Retry-After": "1"})
    cut_at         send this many body bytes, then drop the connection
    length_off_by  lie in Content-Length by this many bytes, then drop the connection
    garble         flip every bit of the body's first byte
    ignore_range   answer a Range request with 200 and the whole body
    chunked        send the body in chunks, without Content-Length
    drop           close the connection without an answer
    hold_at/until  send this many body bytes, set `held`, and go on only once `until` is set
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    length_off_by: int = 0
    garble: bool = False
    ignore_range: bool = False
    chunked: bool = False
    drop: bool = False
    hold_at: int | None = None
    until: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)
    path: str = ""
    method: str | None = None
    times: int = 1


@dataclass
class Request:
    """One request as the server saw it. `body_bytes` counts what was really written to the socket."""

    method: str
    path: str  # with the query
    headers: dict[str, str]  # names in lower case
    status: int = 0
    body_bytes: int = 0
    connection: int = 0  # number of the TCP connection it came on

    @property
    def range(self) -> tuple[int, int | None] | None:
        """(first, last) of the Range header; last is None for `bytes=N-`."""
        found = _RANGE.match(self.headers.get("range", ""))
        return (int(found[1]), int(found[2]) if found[2] else None) if found else None


class LoopbackServer:
    """Subclass and implement `answer(exchange)`. `host` may be another local address (network namespaces)."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._http = _Server((host, port), Exchange)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{self._http.server_address[0]!s}:{self.port}"

    def answer(self, exchange: Exchange) -> None:
        raise NotImplementedError

    def fail(self, fault: Fault) -> Fault:
        """Add a fault; returns it, so that a test can wait on `held` and set `until`."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Forget all faults still waiting."""
        with self._lock:
            self._faults.clear()

    def body_bytes(self, path_contains: str = "") -> int:
        """Body bytes of GET answers whose path contains this."""
        return sum(r.body_bytes for r in list(self.requests) if r.method == "GET" and path_contains in r.path)

    def asked(self, path_contains: str, method: str | None = None) -> list[Request]:
        return [r for r in list(self.requests) if path_contains in r.path and method in (None, r.method)]

    def drop_connections(self) -> None:
        """Break every open connection (idle keep-alive ones too)."""
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        with self._lock:
            for fault in self._faults:
                fault.until.set()
        self.drop_connections()
        self._http.server_close()  # joins the connection threads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fault.path in path and fault.method in (None, method):
                    fault.times -= 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128
    owner: LoopbackServer

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is part of the tests."""


class Exchange(BaseHTTPRequestHandler):
    """One connection's handler; `answer()` of the owner calls `json`, `content`, `error` or `redirect` once."""

    protocol_version = "HTTP/1.1"
    server: _Server
    log: Request
    fault: Fault | None

    def setup(self) -> None:
        super().setup()
        with self.server.owner._lock:
            self.server.owner.connections += 1
            self.number = self.server.owner.connections
            self.server.owner._open.add(self.connection)

    def finish(self) -> None:
        with self.server.owner._lock:
            self.server.owner._open.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        self.url_path, self.query = split.path, {k: v[-1] for k, v in parse_qs(split.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.log = Request(self.command, self.path, headers, connection=self.number)
        owner = self.server.owner
        self.fault = owner._next_fault(self.command, self.path)
        with owner._lock:
            owner.requests.append(self.log)
        if self.fault and self.fault.drop:
            self.close_connection = True
            return
        if self.fault and self.fault.status:
            self.error(self.fault.status, **self.fault.headers)
            return
        owner.answer(self)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Silent: the log is `requests`."""

    # --- answers ---------------------------------------------------------------------------------------------------

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.log.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def error(self, status: int, /, **headers: str) -> None:
        """Headers as keywords: `X_Error_Code` becomes `X-Error-Code`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.head(status, {"Content-Length": "0", **named})

    def redirect(self, location: str, headers: dict[str, str] | None = None, status: int = 302) -> None:
        self.head(status, {"Location": location, "Content-Length": "0", **(headers or {})})

    def document(self, body: bytes, content_type: str = "application/json", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.head(200, {"Content-Type": content_type, "Content-Length": str(len(body)), **named})
        if self.command != "HEAD":
            self.log.body_bytes += len(body)
            self.wfile.write(body)

    def content(self, content: Content, headers: dict[str, str]) -> None:
        """The body or the range of it that was asked for, with this request's fault."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        fault = self.fault or Fault()
        asked = None if fault.ignore_range else self.log.range
        first, last = (0, size - 1) if asked is None else (asked[0], size - 1 if asked[1] is None else asked[1])
        last = min(last, size - 1)
        if asked is not None and first > last:
            self.error(416, Content_Range=f"bytes */{size}")
            return
        length = last - first + 1
        sent = {"Content-Length": str(length + fault.length_off_by), "Accept-Ranges": "bytes", **headers}
        if asked is not None:
            sent["Content-Range"] = f"bytes {first}-{last}/{size}"
        if fault.chunked:
            sent["Transfer-Encoding"] = "chunked"
            del sent["Content-Length"]
        self.head(200 if asked is None else 206, {name: value for name, value in sent.items() if value})
        if self.command == "HEAD":
            return
        if fault.chunked:
            self._send_chunked(content, first, length)
            return
        if fault.length_off_by or fault.cut_at is not None:
            self.close_connection = True
        stop = length if fault.cut_at is None else min(length, fault.cut_at)
        if fault.hold_at is not None:
            self._send(content, first, min(stop, fault.hold_at), fault.garble)
            fault.held.set()
            fault.until.wait()
            first, stop = first + fault.hold_at, stop - fault.hold_at
        self._send(content, first, stop, fault.garble)

    def _send_chunked(self, content: Content, start: int, length: int) -> None:
        body = content.read_bytes() if isinstance(content, Path) else content
        for at in range(start, start + length, 1000):
            part = body[at : min(at + 1000, start + length)]
            self.log.body_bytes += len(part)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, content: Content, start: int, length: int, garble: bool) -> None:
        self.wfile.flush()
        if isinstance(content, Path) and not garble:
            with content.open("rb") as file:
                while length > 0:
                    wanted = min(length, _SLICE)
                    self.log.body_bytes += wanted  # before: who has the last byte must find it counted
                    sent = os.sendfile(self.connection.fileno(), file.fileno(), start, wanted)
                    start, length = start + sent, length - sent
                    self.log.body_bytes -= wanted - sent
            return
        body = content.read_bytes() if isinstance(content, Path) else content
        view = memoryview(body)[start : start + length]
        if garble and view:
            view = memoryview(bytes([view[0] ^ 0xFF]) + bytes(view[1:]))
        while view:
            part = view[:_SLICE]
            self.log.body_bytes += len(part)
            sent = self.connection.send(part)
            self.log.body_bytes -= len(part) - sent
            view = view[sent:]
