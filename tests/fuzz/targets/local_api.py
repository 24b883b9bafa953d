"""The agent's API over its unix socket: what is asked is done, or refused with an error of the product's own."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec

from modeldist.errors import ErrorInfo
from tests.fuzz.http_requests import ask
from tests.fuzz.node import MODEL, node
from tests.fuzz.target import Target


def seeds() -> Iterator[bytes]:
    here = node()
    registry, hub = f"{here.registry.host}/{MODEL}:v1", f"hf://{MODEL}@main"
    host = "\nHost: localhost\n\n"
    for text in (
        f'POST /v1/pulls{host}{{"reference":"{registry}","priority":1,"offline":false}}',
        f'POST /v1/pulls{host}{{"reference":"{hub}"}}',
        f"GET /v1/pulls{host}",
        f'POST /v1/plans{host}{{"reference":"{registry}#only=*.json"}}',
        f"GET /v1/pulls/find?text={registry}{host}",
        f"GET /v1/pulls/none{host}",
        f"GET /v1/pulls/none/events{host}",
        f"DELETE /v1/pulls/none{host}",
        f"GET /v1/artifacts{host}",
        f"DELETE /v1/artifacts?reference={registry}{host}",
        f"PUT /v1/pins?reference={registry}{host}",
        f"DELETE /v1/pins?reference={registry}{host}",
        f'POST /v1/gc{host}{{"target_free":5,"max_age":1.5,"dry_run":true}}',
        f'POST /v1/repairs{host}{{"artifacts":["{here.digest}"]}}',
        f'POST /v1/readings{host}{{"reference":"{registry}","offline":true}}',
        f'PUT /v1/readings/none/wishes{host}{{"wishes":[["{here.blob}",0,10]]}}',
        f"GET /v1/status{host}",
    ):
        yield text.encode()
    yield b"!GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"


def check(data: bytes) -> None:
    here = node()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(here.socket))
        answer = ask(sock, data)
    assert not here.broken, here.broken.pop()
    if answer.status >= 500:
        error = msgspec.json.decode(answer.body, type=ErrorInfo)
        assert error.code and error.message, answer


WORDS = tuple(
    b"GET POST PUT DELETE /v1/pulls /v1/plans /v1/artifacts /v1/pins /v1/gc /v1/repairs /v1/readings /wishes /events "
    b'reference= text= #only= hf:// https:// file:/// oci-layout: modelscope:// sha256: "reference": null '
    b'"wishes": 1e999 -1 9223372036854775808 "\\ud800" \xff %ff %00 {} [] [[[[[[[[[[[[[[[['.split()
)
TARGET = Target("local_api", check, seeds, WORDS, longest=1000, beside=True)
