"""Web servers with files: a real nginx (Debian's) with an access log, and one that misbehaves on demand.

with Nginx(directory) as nginx:           # https too, when given a certificate
    nginx.url, nginx.log(), nginx.body_bytes("model.safetensors")

with FaultyFiles({"a.bin": b"…"}) as files:
    files.fail(Fault(cut_at=10)); files.redirects["b.bin"] = files.url + "/a.bin"
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.servers.loopback_http import Content, Exchange, LoopbackServer

NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)

_CONFIG = """
{user}
daemon off; worker_processes 1; pid {work}/pid; error_log {work}/error.log;
events {{}}
http {{
  client_body_temp_path {work}/t; proxy_temp_path {work}/t; fastcgi_temp_path {work}/t;
  uwsgi_temp_path {work}/t; scgi_temp_path {work}/t;
  log_format lines '$request_method $request_uri $status $body_bytes_sent $connection "$http_range"';
  access_log {work}/access.log lines;
  sendfile on; tcp_nopush on; keepalive_requests 100000; etag on;
  server {{ listen {host}:{port}{tls}; root {root}; {more} }}
}}
"""
_LINE = re.compile(r'(\S+) (\S+) (\d+) (\d+) (\d+) "(.*)"')


@dataclass(frozen=True)
class Served:
    """A line of the access log. `body_bytes` as nginx counted them."""

    method: str
    path: str
    status: int
    body_bytes: int
    connection: int
    range: str


class Nginx:
    """nginx serving `root` on an ephemeral port. `work`: an empty directory for its files. `certificate`: (chain,
    key) PEM files for TLS. `more`: extra directives for the server block."""

    def __init__(
        self,
        root: Path,
        work: Path,
        *,
        certificate: tuple[Path, Path] | None = None,
        more: str = "",
        host: str = "127.0.0.1",
    ) -> None:
        if NGINX is None:
            raise FileNotFoundError("nginx is not installed")
        self._log = work / "access.log"
        # nginx inherits this socket, so the port is ours from the start and connections queue until it is up.
        with socket.create_server((host, 0), backlog=128) as listener:
            port = listener.getsockname()[1]
            self.url = f"http{'s' if certificate else ''}://{host}:{port}"
            if certificate:
                more += f" ssl_certificate {certificate[0]}; ssl_certificate_key {certificate[1]};"
            config = work / "nginx.conf"
            config.write_text(
                _CONFIG.format(
                    user="user root;" if os.geteuid() == 0 else "",  # or its worker cannot read a private directory
                    work=work,
                    root=root,
                    host=host,
                    port=port,
                    tls=" ssl" if certificate else "",
                    more=more,
                )
            )
            self._process = subprocess.Popen(
                [NGINX, "-e", str(work / "error.log"), "-c", str(config)],
                pass_fds=[listener.fileno()],
                env={**os.environ, "NGINX": f"{listener.fileno()};"},
            )

    def log(self, *, at_least: int = 0, seconds: float = 10.0) -> list[Served]:
        """The access log once it has that many lines (nginx writes a line just after the last byte)."""
        deadline = time.monotonic() + seconds
        while True:
            lines = self._log.read_text().splitlines() if self._log.exists() else []
            if len(lines) >= at_least or time.monotonic() > deadline:
                break
            time.sleep(0.01)
        found = [m for m in map(_LINE.fullmatch, lines) if m]
        return [Served(m[1], m[2], int(m[3]), int(m[4]), int(m[5]), "" if m[6] == "-" else m[6]) for m in found]

    def body_bytes(self, path_contains: str = "", *, at_least: int = 0) -> int:
        return sum(s.body_bytes for s in self.log(at_least=at_least) if s.method == "GET" and path_contains in s.path)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FaultyFiles(LoopbackServer):
    """Serves `files` by path with a strong ETag of their content, and does what the faults say.

    `redirects`: path -> Location. `headers`: extra or replaced headers of every file; an empty value removes it.
    """

    def __init__(self, files: dict[str, Content] | None = None, host: str = "127.0.0.1") -> None:
        self.files: dict[str, Content] = dict(files or {})
        self.redirects: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        super().__init__(host)

    def answer(self, exchange: Exchange) -> None:
        path = exchange.url_path.lstrip("/")
        if path in self.redirects:
            exchange.redirect(self.redirects[path])
        elif path not in self.files:
            exchange.error(404)
        else:
            content = self.files[path]
            body = content if isinstance(content, bytes) else str(content.stat()).encode()
            headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:16]}"', **self.headers}
            match = exchange.log.headers.get("if-match")
            if match not in (None, headers["ETag"]):
                exchange.error(412)
            else:
                exchange.content(content, headers)
