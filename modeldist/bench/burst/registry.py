"""`python -m modeldist.bench.burst.registry`: a registry on loopback that has any number of small models, made up as
they are asked for. Prints its port, and ends with its standard input."""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from modelpack import mediatypes
from modelpack.manifest import Descriptor, Manifest, encode_manifest

SIZE = 256 << 10  # bytes of a model's only file: one piece
_MANIFEST = re.compile(r"/v2/(bench/model-\d+)/manifests/(.+)")
_BLOB = re.compile(r"/v2/bench/model-\d+/blobs/(.+)")
_CONFIG = msgspec.json.encode(
    {
        "descriptor": {"createdAt": "2026-01-01T00:00:00Z"},
        "config": {},
        "modelfs": {"type": "layers", "diffIds": ["sha256:" + "0" * 64]},
    }
)


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def manifest_of(repository: str) -> bytes:
    path = {mediatypes.FILEPATH: "model.bin"}
    return encode_manifest(
        Manifest(
            schema_version=2,
            media_type=mediatypes.OCI_MANIFEST,
            artifact_type=mediatypes.CNCF_ARTIFACT,
            config=Descriptor(media_type=mediatypes.CNCF_CONFIG, digest=_sha256(_CONFIG), size=len(_CONFIG)),
            layers=(
                Descriptor(
                    media_type="application/vnd.cncf.model.weight.v1.raw",
                    digest=_sha256(repository.encode()),
                    size=SIZE,
                    annotations=path,
                ),
            ),
        )
    )


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if found := _MANIFEST.fullmatch(self.path):
            body = manifest_of(found[1])
            known = not found[2].startswith("sha256") or found[2] == _sha256(body)
            self._answer(200 if known else 404, mediatypes.OCI_MANIFEST, body)
        elif found := _BLOB.fullmatch(self.path):
            self._answer(200 if found[1] == _sha256(_CONFIG) else 404, "application/octet-stream", _CONFIG)
        else:
            self._answer(200 if self.path == "/v2/" else 404, "application/json", b"{}")

    do_HEAD = do_GET

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", _sha256(body))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


def main() -> None:
    server = _Server(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
