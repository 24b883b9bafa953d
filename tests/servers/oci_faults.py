"""A registry in memory that fails on demand and remembers every request.

    with FaultyRegistry() as registry:
        digest = registry.add_model("org/model", "v1", {"model.safetensors": weights})
        registry.inject(faults.truncated(1000), on="blobs")
        …
        registry.requests    # every Exchange: method, path, headers, status, body bytes sent

The faults themselves are values of `tests.servers.faults`. `on` picks the requests a fault spoils: "manifests",
"blobs", "uploads", "tags", "referrers", "files", "any", or a part of the path such as a digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.servers.faults import Fault
from tests.servers.oci_faults_handler import Handler

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MODEL_MANIFEST = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"
KINDS = ("base", "manifests", "blobs", "uploads", "tags", "referrers", "files")


@dataclass
class Exchange:
    """One request and what became of it. Header names are lower case. `kind` is one of KINDS; `sent` counts the body
    bytes handed to the connection; `received` is the request's body."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    kind: str
    received: bytes = b""
    status: int = 0
    sent: int = 0

    @property
    def range(self) -> str:
        return self.headers.get("range", "")

    def fits(self, on: str, method: str | None) -> bool:
        """`on`: "any", a kind, or a part of the path."""
        return method in (None, self.method) and (on in ("any", self.kind) or (on not in KINDS and on in self.path))


@dataclass
class Upload:
    repository: str
    data: bytearray = field(default_factory=bytearray)


@dataclass
class _Planned:
    fault: Fault
    on: str
    method: str | None
    left: int | None


class FaultyRegistry:
    """`challenge`: the WWW-Authenticate header of the 401 given to requests whose Authorization is not one of
    `accepts`. `chunked=False` refuses PATCH; `relative=True` gives Locations without scheme and host;
    `chunk_limit` is the largest PATCH taken, in bytes; `referrers=False` answers 404 to the referrers API."""

    def __init__(
        self,
        *,
        challenge: str = "",
        accepts: tuple[str, ...] = (),
        chunked: bool = True,
        relative: bool = False,
        chunk_limit: int | None = None,
        referrers: bool = False,
        mount: bool = True,
    ) -> None:
        self.challenge = challenge
        self.accepts = accepts
        self.chunked = chunked
        self.relative = relative
        self.chunk_limit = chunk_limit
        self.referrers = referrers
        self.mount = mount
        self.requests: list[Exchange] = []
        self.blobs: dict[str, bytes] = {}
        self.repositories: dict[str, set[str]] = {}  # repository: digests of its blobs
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}  # (repository, tag or digest): raw, media type
        self.files: dict[str, tuple[bytes, tuple[str, ...]]] = {}  # path: content, allowed methods
        self.uploads: dict[str, Upload] = {}
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.port = 0
        self._server: _Server
        self._thread: threading.Thread
        self._planned: list[_Planned] = []
        self._connections: set[socket.socket] = set()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    # what it holds

    def add_blob(self, repository: str, data: bytes) -> str:
        """Returns the digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        with self.lock:
            self.blobs[digest] = data
            self.repositories.setdefault(repository, set()).add(digest)
        return digest

    def add_manifest(self, repository: str, tag: str | None, raw: bytes, media_type: str = OCI_MANIFEST) -> str:
        """Store a manifest under its digest and, unless None, `tag`. Returns the digest."""
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        with self.lock:
            self.repositories.setdefault(repository, set())
            for version in filter(None, (tag, digest)):
                self.manifests[repository, version] = (raw, media_type)
        return digest

    def add_model(self, repository: str, tag: str, files: Mapping[str, bytes]) -> str:
        """A ModelPack with one raw layer per file. Returns the manifest's digest."""
        layers = []
        for name, data in files.items():
            kind = "weight" if name.endswith((".safetensors", ".gguf", ".bin")) else "weight.config"
            layers.append(
                {
                    "mediaType": f"application/vnd.cncf.model.{kind}.v1.raw",
                    "digest": self.add_blob(repository, data),
                    "size": len(data),
                    "annotations": {"org.cncf.model.filepath": name, "org.opencontainers.image.title": name},
                }
            )
        config = {
            "descriptor": {"name": repository.rsplit("/", 1)[-1]},
            "config": {"format": "safetensors"},
            "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
        }
        raw_config = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": MODEL_MANIFEST,
            "config": {
                "mediaType": MODEL_CONFIG,
                "digest": self.add_blob(repository, raw_config),
                "size": len(raw_config),
            },
            "layers": layers,
        }
        return self.add_manifest(repository, tag, json.dumps(manifest).encode())

    def add_file(self, path: str, data: bytes, *, methods: tuple[str, ...] = ("GET",)) -> str:
        """Something outside /v2/, as an object store serves a presigned URL: every other method gets 403.
        Returns its URL."""
        with self.lock:
            self.files[path] = (data, methods)
        return self.url + path

    # what goes wrong

    def inject(self, fault: Fault, *, on: str = "any", method: str | None = None) -> None:
        """Spoil the requests of one kind (and method); earlier faults come first."""
        with self.lock:
            self._planned.append(_Planned(fault, on, method, fault.times))

    def heal(self) -> None:
        """Forget the faults not used up."""
        with self.lock:
            self._planned.clear()

    def fault_for(self, exchange: Exchange) -> Fault | None:
        with self.lock:
            for planned in self._planned:
                if planned.left == 0 or not exchange.fits(planned.on, planned.method):
                    continue
                if planned.left is not None:
                    planned.left -= 1
                return planned.fault
        return None

    # what happened

    def seen(self, kind: str = "any", method: str | None = None) -> list[Exchange]:
        """The requests of one kind, or whose path contains `kind`, in the order they came."""
        with self.lock:
            return [exchange for exchange in self.requests if exchange.fits(kind, method)]

    def blob_bytes(self) -> int:
        """Body bytes sent of blobs and files."""
        return sum(exchange.sent for exchange in self.seen() if exchange.kind in ("blobs", "files"))

    def record(self, exchange: Exchange) -> None:
        with self.lock:
            self.requests.append(exchange)

    # its life

    def __enter__(self) -> Self:
        self.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.die()
        self._server.server_close()  # joins the threads
        self._thread.join()

    def restart(self) -> None:
        """Come back on the same port with the same content (or for the first time, on any port)."""
        if self.port:
            self._server.server_close()
            self._thread.join()
        self.stopping.clear()
        self._server = _Server(self)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="faulty registry")
        self._thread.start()

    def die(self) -> None:
        """Go away: every connection breaks, new ones are refused."""
        self.stopping.set()
        self._server.shutdown()
        self._server.socket.close()
        with self.lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def connected(self, connection: socket.socket) -> None:
        with self.lock:
            self._connections.add(connection)

    def disconnected(self, connection: socket.socket) -> None:
        with self.lock:
            self._connections.discard(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for them
    request_queue_size = 128

    def __init__(self, registry: FaultyRegistry) -> None:
        self.registry = registry
        super().__init__(("127.0.0.1", registry.port), Handler)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        self.registry.connected(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self.registry.disconnected(request)
        super().shutdown_request(request)
