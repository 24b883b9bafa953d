"""Docker's config.json: a credential that a header can carry, or a refusal that names the file and shows none of it."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modelpack.errors import RegistryUnauthorized
from modelpack.oci.credentials import Credential, DockerCredentials, encode_basic
from tests.fuzz.target import Target, json_words
from tests.refusals import check_sentence

REGISTRY = "registry.example:5000"


def seeds() -> Iterator[bytes]:
    auth = base64.b64encode(b"user:secret").decode()
    for auths in (
        {REGISTRY: {"auth": auth}},
        {f"https://{REGISTRY}/v2/": {"username": "user", "password": "secret"}},
        {f"{REGISTRY}/org": {"identitytoken": "secret"}},
        {REGISTRY: {"auth": "é"}, "other": {}},
        {REGISTRY: {"username": "\ud800"}},
    ):
        yield json.dumps({"auths": auths, "HttpHeaders": {"User-Agent": "x"}}).encode()
    yield json.dumps({"auths": {}, "credHelpers": {REGISTRY: "no-such-helper"}, "credsStore": "nor-this"}).encode()
    yield b'{"credHelpers":{"registry.example:5000":[1]},"credsStore":{}}'


def check(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as room:
        file = Path(room, "config.json")
        file.write_bytes(data)
        credentials = DockerCredentials((file,), path=room)
        try:
            found = asyncio.run(credentials.lookup(REGISTRY, "org/model"))
        except RegistryUnauthorized as error:
            check_sentence(error.message, naming=str(file))
            check_sentence(error.remedy)
            assert "secret" not in str(error)
            return
    if found is not None:
        assert isinstance(found, Credential)
        assert encode_basic(found).isascii()
        found.identity_token.encode()
        assert "secret" not in repr(found)


WORDS = (
    *json_words("auths auth username password identitytoken credHelpers credsStore", REGISTRY),
    *(b"\xff\xfe", b"dXNlcjpzZWNyZXQ="),
)
TARGET = Target("credentials", check, seeds, WORDS, longest=1000)
