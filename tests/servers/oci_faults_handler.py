"""The HTTP side of the faulty registry: the distribution protocol over its dictionaries, disturbed by faults."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.servers.faults import Answer, Fault

if TYPE_CHECKING:
    from tests.servers.oci_faults import Exchange, FaultyRegistry, Upload

_ROUTE = re.compile(r"/v2/(?P<repository>.+?)/(?P<kind>manifests|blobs/uploads|blobs|tags|referrers)/(?P<rest>.*)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_BLOCK = 64 * 1024


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def registry(self) -> FaultyRegistry:
        return self.server.registry  # type: ignore[attr-defined, no-any-return]

    def do_GET(self) -> None:
        self._exchange()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError, ValueError):  # the client went away, or the server did
            self.close_connection = True

    def _exchange(self) -> None:
        from tests.servers.oci_faults import Exchange

        address = urlsplit(self.path)
        route = _ROUTE.fullmatch(address.path)
        kind = {"blobs/uploads": "uploads"}.get(route["kind"], route["kind"]) if route else "files"
        if address.path in ("/v2/", "/v2"):
            kind = "base"
        headers = {name.lower(): value for name, value in self.headers.items()}
        exchange = Exchange(self.command, address.path, address.query, headers, kind, self._body())
        fault = self.registry.fault_for(exchange) or Fault()
        self.registry.record(exchange)
        if fault.answer is not None:
            answer = fault.answer(self.path) if callable(fault.answer) else fault.answer
        else:
            answer = self._refusal(exchange) or self._answer(exchange, route)
        self._send(exchange, answer, fault)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _refusal(self, exchange: Exchange) -> Answer | None:
        registry = self.registry
        if (
            not registry.challenge
            or exchange.kind == "files"
            or exchange.headers.get("authorization") in registry.accepts
        ):
            return None
        return _error(401, "UNAUTHORIZED", ("WWW-Authenticate", registry.challenge))

    def _answer(self, exchange: Exchange, route: re.Match[str] | None) -> Answer:
        with self.registry.lock:
            if exchange.kind == "base":
                return Answer(200, (("Content-Type", "application/json"),), b"{}")
            if route is None:
                return self._file(exchange)
            repository, rest = route["repository"], route["rest"]
            reads = exchange.method in ("GET", "HEAD") and exchange.kind != "uploads"
            if reads and repository not in self.registry.repositories:
                return _error(404, "NAME_UNKNOWN")
            return getattr(self, f"_{exchange.kind}")(exchange, repository, rest)  # type: ignore[no-any-return]

    def _file(self, exchange: Exchange) -> Answer:
        data, methods = self.registry.files.get(exchange.path, (b"", ()))
        return (
            _ranged(exchange, data) if exchange.method in methods else Answer(403, (), b"<Error>AccessDenied</Error>")
        )

    def _manifests(self, exchange: Exchange, repository: str, version: str) -> Answer:
        registry = self.registry
        if exchange.method == "PUT":
            tag = None if version.startswith("sha256:") else version
            media_type = exchange.headers.get("content-type", "")
            digest = registry.add_manifest(repository, tag, exchange.received, media_type)
            headers = [("Location", exchange.path), ("Docker-Content-Digest", digest)]
            if registry.referrers and (subject := json.loads(exchange.received).get("subject")):
                headers.append(("OCI-Subject", subject["digest"]))
            return Answer(201, tuple(headers))
        raw, media_type = registry.manifests.get((repository, version), (b"", ""))
        if not raw:
            return _error(404, "MANIFEST_UNKNOWN")
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        return Answer(200, (("Content-Type", media_type), ("Docker-Content-Digest", digest)), raw)

    def _blobs(self, exchange: Exchange, repository: str, digest: str) -> Answer:
        if digest not in self.registry.repositories[repository]:
            return _error(404, "BLOB_UNKNOWN")
        return _ranged(exchange, self.registry.blobs[digest], ("Docker-Content-Digest", digest))

    def _tags(self, exchange: Exchange, repository: str, _rest: str) -> Answer:
        query = parse_qs(exchange.query)
        tags = sorted(tag for name, tag in self.registry.manifests if name == repository and ":" not in tag)
        tags = [tag for tag in tags if tag > query.get("last", [""])[0]]
        page = tags[: int(query.get("n", ["1000"])[0])]
        link = (
            [("Link", f'<{exchange.path}?n={len(page)}&last={page[-1]}>; rel="next"')] if len(page) < len(tags) else []
        )
        return _json(200, {"name": repository, "tags": page}, *link)

    def _referrers(self, exchange: Exchange, repository: str, digest: str) -> Answer:
        if not self.registry.referrers:
            return _error(404, "UNSUPPORTED")
        found = []
        for (name, version), (raw, media_type) in self.registry.manifests.items():
            document = json.loads(raw)
            if name == repository and ":" in version and document.get("subject", {}).get("digest") == digest:
                found.append(
                    {
                        "mediaType": media_type,
                        "digest": version,
                        "size": len(raw),
                        "artifactType": document.get("artifactType", ""),
                    }
                )
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": found}
        return _json(200, index, ("Content-Type", "application/vnd.oci.image.index.v1+json"))

    def _uploads(self, exchange: Exchange, repository: str, rest: str) -> Answer:
        from tests.servers.oci_faults import Upload

        registry, query = self.registry, parse_qs(exchange.query)
        if exchange.method == "POST":
            mount, source = query.get("mount", [""])[0], query.get("from", [""])[0]
            if registry.mount and mount and mount in registry.repositories.get(source, ()):
                registry.repositories.setdefault(repository, set()).add(mount)
                return Answer(201, (("Location", f"/v2/{repository}/blobs/{mount}"),))
            rest = uuid.uuid4().hex
            registry.uploads[rest] = Upload(repository)
            return self._progress(202, rest)
        if rest not in registry.uploads:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        upload = registry.uploads[rest]
        if exchange.method == "GET":
            return self._progress(204, rest)
        if exchange.method == "PATCH":
            return self._patch(exchange, rest, upload)
        data = bytes(upload.data) + exchange.received
        digest = query["digest"][0]
        if digest != f"sha256:{hashlib.sha256(data).hexdigest()}":
            return _error(400, "DIGEST_INVALID")
        registry.add_blob(repository, data)
        del registry.uploads[rest]
        return Answer(201, (("Location", f"/v2/{repository}/blobs/{digest}"), ("Docker-Content-Digest", digest)))

    def _patch(self, exchange: Exchange, session: str, upload: Upload) -> Answer:
        limit = self.registry.chunk_limit
        if not self.registry.chunked:
            return _error(405, "UNSUPPORTED")
        if limit is not None and len(exchange.received) > limit:
            return _error(413, "SIZE_INVALID")
        start = exchange.headers.get("content-range", "").split("-")[0]
        if start and int(start) != len(upload.data):
            return self._progress(416, session)
        upload.data += exchange.received
        return self._progress(202, session)

    def _progress(self, status: int, session: str) -> Answer:
        upload = self.registry.uploads[session]
        base = "" if self.registry.relative else self.registry.url
        location = f"{base}/v2/{upload.repository}/blobs/uploads/{session}?_state=opaque%3D"
        last = max(len(upload.data) - 1, 0)
        return Answer(status, (("Location", location), ("Range", f"0-{last}"), ("Docker-Upload-UUID", session)))

    def _send(self, exchange: Exchange, answer: Answer, fault: Fault) -> None:
        body = answer.body
        if fault.flip_byte is not None and fault.flip_byte < len(body):
            at = fault.flip_byte
            body = body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]
        exchange.status = answer.status
        if fault.lost:
            self.close_connection = True
            return
        self.send_response(answer.status)
        headers = {"Content-Length": str(len(body) + (fault.claim_length or 0)), **dict(answer.headers)}
        for name, value in {**headers, **dict(fault.headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        if fault.claim_length is not None:
            self.close_connection = True
        if exchange.method != "HEAD":
            self._send_body(exchange, body, fault)

    def _send_body(self, exchange: Exchange, body: bytes, fault: Fault) -> None:
        end = len(body) if fault.truncate_at is None else min(fault.truncate_at, len(body))
        stop = fault.hold.after if fault.hold and fault.hold.after < end else None
        block = _BLOCK if fault.rate is None else max(1, min(_BLOCK, int(fault.rate / 20)))
        while exchange.sent < end:
            if exchange.sent == stop and fault.hold:
                fault.hold.reached.set()
                while not fault.hold.resume.wait(0.02) and not self.registry.stopping.is_set():
                    pass
                stop = None
            size = min(block, (stop or end) - exchange.sent)
            piece = body[exchange.sent : exchange.sent + size]
            exchange.sent += size  # before the client can have it
            try:
                self.connection.sendall(piece)
            except OSError:
                exchange.sent -= size
                raise
            if fault.rate is not None:
                time.sleep(size / fault.rate)
        if fault.truncate_at is not None:
            self.close_connection = True
        if fault.then_die:
            self.registry.die()


def _ranged(exchange: Exchange, data: bytes, *headers: tuple[str, str]) -> Answer:
    kind = ("Content-Type", "application/octet-stream")
    wanted = _RANGE.fullmatch(exchange.range)
    if not wanted:
        return Answer(200, (kind, ("Accept-Ranges", "bytes"), *headers), data)
    start, end = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
    if start >= len(data):
        return Answer(416, (("Content-Range", f"bytes */{len(data)}"),))
    return Answer(206, (kind, ("Content-Range", f"bytes {start}-{end}/{len(data)}"), *headers), data[start : end + 1])


def _json(status: int, document: object, *headers: tuple[str, str]) -> Answer:
    return Answer(status, (("Content-Type", "application/json"), *headers), json.dumps(document).encode())


def _error(status: int, code: str, *headers: tuple[str, str]) -> Answer:
    return _json(status, {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}, *headers)
