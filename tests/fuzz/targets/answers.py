"""What a registry says in headers and small documents: challenges, redirects, Retry-After, presigned addresses, errors.

The first line of an input is a header's value, for all of them; the rest is the body of an error answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress

import httpx2

from modelpack.errors import RegistryProtocolError
from modelpack.oci.addresses import MAY_SEND_TO, Zone, zone_of
from modelpack.oci.answers import Subject, error_codes, error_for
from modelpack.oci.blobs import presigned_life
from modelpack.oci.challenge import parse_challenges
from modelpack.oci.redirects import Trail, headers_for, host_name, is_web_address
from modelpack.oci.retry import retry_after_seconds
from modelpack.reference import Reference
from tests.fuzz.target import Target
from tests.refusals import check_sentence

START = httpx2.URL("https://registry.example/v2/org/model/blobs/x")


def seeds() -> Iterator[bytes]:
    for value in (
        'Bearer realm="https://auth.example/token",service="a \\"b\\"",scope="repository:a/b:pull", Basic realm=x',
        "NTLM abc==, Negotiate",
        "120",
        "Thu, 01 Jan 1970 00:01:40 GMT",
        "Thu, 01 Jan 99999999999999999999 00:01:40 +99999999999999999999",
        "https://store.example/blob?X-Amz-Date=19700101T000100Z&X-Amz-Expires=300",
        "//store.example:8443/blob?se=1970-01-01T00:01:10Z&sig=abc",
        "/blob?Expires=Thu,%2001%20Jan%201970%2000:01:40%20GMT",
        "https://[::ffff:127.0.0.1]/",
        "https://2130706433/../x",
        "https://user@[fe80::1%25eth0]:0/",
    ):
        yield value.encode() + b'\n{"errors":[{"code":"DENIED","message":"no \\u001b[31m"}]}'


async def _nobody(host: str) -> Sequence[str]:
    return ()


def check(data: bytes) -> None:
    head, _, body = data.partition(b"\n")
    value = head.decode("latin-1")
    for challenge in parse_challenges([value]):
        assert challenge.scheme == challenge.scheme.lower() and challenge.scheme
        assert all(name == name.lower() for name in challenge.parameters)
    life = retry_after_seconds(value, now=lambda: 10.0)
    assert life is None or life >= 0
    asyncio.run(_check_redirect(value))
    asyncio.run(_check_redirect(head.decode(errors="replace")))
    _check_errors(body)


async def _check_redirect(value: str) -> None:
    try:
        target = await Trail(START, "blob of registry.example/org/model", _nobody).hop(value)
    except RegistryProtocolError as error:
        check_sentence(error.message, naming="registry.example")
        return
    assert is_web_address(target) and target.scheme == "https"
    assert host_name(target) == START.host or await zone_of(host_name(target), _nobody) in MAY_SEND_TO[Zone.PUBLIC]
    secret = {"Authorization": "secret"}
    assert (headers_for(START, target, secret) == secret) == (
        (host_name(target), target.port or 443) == (START.host, START.port or 443)
    )
    life = presigned_life(target, now=lambda: 10.0)
    assert life is None or life >= 0
    httpx2.Request("GET", target)


def _check_errors(body: bytes) -> None:
    subject = Subject(Reference("registry.example", "org/model", "v1"), "manifest")
    for code, message in error_codes(body):
        assert all(not text or text.isprintable() for text in (code, message))
    for status in (400, 401, 403, 404, 429, 503):
        with suppress(ValueError):  # a header that httpx2 itself refuses
            error = error_for(httpx2.Response(status), body, subject, with_credentials=False)
            check_sentence(error.message, naming="registry.example")
            check_sentence(error.remedy)


WORDS = tuple(
    b'Bearer_ realm= " \\ == https:// // @ [ ] :443 %00 %2e .. 127.1 0x7f.1 localhost 169.254.169.254 xn-- ? & '
    b'\xe3\x80\x82 X-Amz-Expires= Expires= GMT +9999 {"errors":[ "message":'.split()
)
TARGET = Target("answers", check, seeds, WORDS, longest=600)
