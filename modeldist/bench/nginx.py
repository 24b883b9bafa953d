"""nginx on loopback as an origin: files by URL, and the same files as a Hugging Face shaped repository, or as a model
in a registry.

Everything is static, so that no interpreter stands between the bytes and the contenders.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from modeldist.errors import UsageError
from modelpack import mediatypes
from modelpack.build import build
from modelpack.layout import OciLayout

REPOSITORY = "org/model"
TAG = "v1"
_PATIENCE = 10.0  # seconds for nginx to listen


@dataclass(frozen=True)
class Served:
    """One file. LFS files are known by their sha256, others by their git blob's sha1."""

    path: str
    size: int
    sha256: str
    oid: str
    lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Request:
    """What the log says of one: the bytes of the answer's body that were sent."""

    method: str
    path: str
    body: int


class Nginx:
    """Serves the files under `content` until the `with` block ends; `home` takes its configuration and logs.

    With `registry` also as a ModelPack, and with a log of what was asked for.
    """

    def __init__(self, home: Path, content: Path, *, registry: bool = False) -> None:
        self._home = home
        self._content = content
        self._registry = registry
        self.files = tuple(_served(content, path) for path in sorted(content.rglob("*")) if path.is_file())
        digests = "".join(file.sha256 for file in self.files)
        self.commit = hashlib.sha1(digests.encode(), usedforsecurity=False).hexdigest()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def file_url(self, path: str) -> str:
        return f"{self.url}/files/{path}"

    def __enter__(self) -> Self:
        binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if binary is None:
            raise UsageError("nginx is not installed.", remedy="Debian: apt-get install nginx-light")
        self._home.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        (self._home / "api.json").write_text(json.dumps(self._info()))
        (self._home / "tree.json").write_text(json.dumps(self._tree()))
        self._manifest = self._build() if self._registry else ""
        config = self._home / "nginx.conf"
        config.write_text(self._config())
        command = [binary, "-p", str(self._home), "-c", str(config), "-e", str(self._home / "error.log")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _PATIENCE
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise UsageError(f"nginx does not start: {(self._home / 'error.log').read_text()[-1000:]}")
            time.sleep(0.02)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    # --- what it was asked ---

    def log(self) -> list[Request]:
        """Every request that has ended, since the last `forget_log`."""
        lines = (line.split(" ") for line in self._log.read_text().splitlines())
        return [Request(method, path, int(body)) for method, path, body in lines]

    def forget_log(self) -> None:
        os.truncate(self._log, 0)

    @property
    def _log(self) -> Path:
        return self._home / "access.log"

    # --- what it says ---

    def _build(self) -> str:
        """Make the ModelPack; its manifest's digest."""
        return build(self._content, OciLayout.create(self._home / "layout")).digest

    def _info(self) -> dict[str, object]:
        siblings = [
            {"rfilename": file.path, "size": file.size, "blobId": file.oid}
            | ({"lfs": {"sha256": file.sha256, "size": file.size, "pointerSize": 134}} if file.lfs else {})
            for file in self.files
        ]
        named = {"id": REPOSITORY, "modelId": REPOSITORY, "sha": self.commit}
        return {**named, "private": False, "gated": False, "tags": [], "siblings": siblings}

    def _tree(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": file.path, "size": file.size, "oid": file.oid}
            | ({"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 134}} if file.lfs else {})
            for file in self.files
        ]

    def _config(self) -> str:
        # As root nginx would give its workers to another user, who may not read here.
        user = "user root root;\n" if os.geteuid() == 0 else ""
        log = f"{self._log} asked" if self._registry else "off"
        # A table by name: matching a thousand patterns would cost more than answering.
        etags = "\n".join(f'  "{file.path}" \'"{file.etag}"\';' for file in self.files)
        return f"""
{user}daemon off; worker_processes 2; pid {self._home}/nginx.pid;
events {{ worker_connections 512; }}
http {{
  log_format asked "$request_method $uri $body_bytes_sent"; access_log {log};
  sendfile on; tcp_nopush on; keepalive_requests 100000; default_type application/octet-stream;
  client_body_temp_path {self._home}/t1; proxy_temp_path {self._home}/t2; fastcgi_temp_path {self._home}/t3;
  uwsgi_temp_path {self._home}/t4; scgi_temp_path {self._home}/t5;
  open_file_cache max=4096; map_hash_bucket_size 512; map_hash_max_size 16384;
  map $file_path $file_etag {{
{etags}
  }}
  server {{
    listen 127.0.0.1:{self.port} backlog=1024;
    location /files/ {{ alias {self._content}/; }}
    location ~ ^/{REPOSITORY}/resolve/[^/]+/(?<file_path>.+)$ {{
      alias {self._content}/$file_path; etag off;
      add_header ETag $file_etag; add_header X-Repo-Commit {self.commit};
    }}
    location ~ ^/api/models/{REPOSITORY}(/revision/[^/]+)?$ {{
      default_type application/json; alias {self._home}/api.json;
    }}
    location ~ ^/api/models/{REPOSITORY}/tree/ {{ default_type application/json; alias {self._home}/tree.json; }}
{self._registry_config()}
  }}
}}
"""

    def _registry_config(self) -> str:
        if not self._registry:
            return ""
        blobs, manifest = self._home / "layout" / "blobs" / "sha256", self._manifest
        return f"""
    location = /v2/ {{ return 200; }}
    location ~ ^/v2/{REPOSITORY}/manifests/({TAG}|{manifest})$ {{
      default_type {mediatypes.OCI_MANIFEST}; alias {blobs}/{manifest.partition(":")[2]};
      add_header Docker-Content-Digest {manifest};
    }}
    location ~ ^/v2/{REPOSITORY}/blobs/sha256:([0-9a-f]+)$ {{ alias {blobs}/$1; }}
"""


def _served(content: Path, path: Path) -> Served:
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    size = path.stat().st_size
    sha1.update(b"blob %d\0" % size)
    lfs = path.suffix == ".safetensors"
    with path.open("rb", buffering=0) as file:
        while part := file.read(1 << 20):
            sha256.update(part)
            if not lfs:
                sha1.update(part)
    oid = sha1.hexdigest() if not lfs else sha256.hexdigest()[:40]
    return Served(str(path.relative_to(content)), size, sha256.hexdigest(), oid, lfs)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
