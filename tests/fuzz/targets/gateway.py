"""The gateway, as programs of a hub and of a registry ask it over its socket: it answers what it is asked or says why
not, and fails with nothing but what the hub or the registry could not do."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from tests.fuzz.http_requests import ask
from tests.fuzz.node import MODEL, node
from tests.fuzz.target import Target

DOCUMENTED = (502, 503, 504, 507)  # of what is behind the gateway, or of the disk


def seeds() -> Iterator[bytes]:
    here = node()
    host = b"\nHost: localhost"
    weights = f"/{MODEL}/resolve/{here.commit}/model.safetensors".encode()
    oci = f"/v2/{MODEL}".encode()
    for line in (
        f"GET /api/models/{MODEL}".encode(),
        f"GET /api/models/{MODEL}/revision/main?blobs=true".encode(),
        f"GET /api/models/{MODEL}/tree/{here.commit}?recursive=true".encode(),
        f"GET /{MODEL}/resolve/main/config.json".encode(),
        b"HEAD " + weights,
        b"GET " + weights,
        b"GET /v2/",
        b"GET /v2/_token?service=modeldist&scope=repository:org/model:pull",
        b"GET " + oci + b"/manifests/v1",
        b"HEAD " + oci + b"/manifests/" + here.digest.encode(),
        b"GET " + oci + b"/blobs/" + here.blob.encode(),
        b"GET " + oci + b"/tags/list?n=1&last=a",
        b"GET " + oci + b"/referrers/" + here.digest.encode() + b"?artifactType=a/b",
        b"POST " + oci + b"/blobs/uploads/",
    ):
        yield line + host + b"\n\n"
    yield b"GET " + weights + host + b"\nRange: bytes=100-299\nIf-Range: x\nAuthorization: Bearer hf_x\n\n"
    yield b"GET " + oci + b"/blobs/" + here.blob.encode() + host + b"\nRange: bytes=-5\nAuthorization: Basic YTpi\n\n"
    yield f"POST /api/models/{MODEL}/paths-info/main".encode() + host + b'\n\n{"paths":["config.json"],"expand":true}'
    form = b"\nContent-Type: application/x-www-form-urlencoded\n\npaths=config.json&expand=true"
    yield f"POST /api/models/{MODEL}/paths-info/main".encode() + host + form
    yield b"!GET " + weights + b" HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\n\r\n"


def check(data: bytes) -> None:
    here = node()
    with socket.create_connection(here.gateway) as sock:
        answer = ask(sock, data)
    assert not here.broken, here.broken.pop()
    assert answer.status < 500 or answer.status in DOCUMENTED, (answer.head, answer.body[:500])
    assert b"failed unexpectedly" not in answer.body


WORDS = tuple(
    b"GET HEAD POST Range: bytes= If-Range: Authorization: Bearer Basic hf_ Host: localhost /api/models/ /v2/ "
    b"/manifests/ /blobs/ /tags/list ?ns= ?n= %2F %2e%2e %00 %ff .. // main sha256: Content-Type: application/json"
    b' Cookie: Sec-Fetch-Site: Accept: {} [] "paths": \xff'.split()
)
TARGET = Target("gateway", check, seeds, WORDS, longest=1000, beside=True)
