"""Signatures from strangers: bundles, statements, old payloads, lists of files.

One key has signed two statements, which are among the seeds; nothing else may ever count as signed by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache, partial

from cryptography.hazmat.primitives.asymmetric import ec

from modelpack.errors import InvalidSignature
from modelpack.trust.bundles import make_bundle, parse_bundle
from modelpack.trust.keys import PrivateKey
from modelpack.trust.model_signing import PREDICATE, signed_files
from modelpack.trust.statements import (
    STATEMENT,
    check_sign_statement,
    check_simple_signing,
    read_statement,
    sign_statement,
    simple_signing,
)
from tests.fuzz.target import Target, json_words
from tests.refusals import value_of

DIGESTS = ("sha256:" + "1" * 64, "sha256:" + "2" * 64)
KEY = PrivateKey(ec.derive_private_key(7, ec.SECP256R1()))
OTHER = PrivateKey(ec.derive_private_key(8, ec.SECP256R1()))


def list_of_files() -> bytes:
    """As model-signing writes it, of one file."""
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": "m", "digest": {"sha256": "b5b9e95e28a5ed0dd4a9e4a4d6b1c6f6" * 2}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "ignore_paths": [".git", "model.sig"]},
            "resources": [{"name": "config.json", "algorithm": "sha256", "digest": "1" * 64}],
        },
    }
    return json.dumps(statement).encode()


@lru_cache(maxsize=1)
def signed() -> tuple[bytes, ...]:
    """All that KEY has signed."""
    return (sign_statement(DIGESTS[0]), list_of_files())


def seeds() -> Iterator[bytes]:
    for payload in signed():
        yield make_bundle(payload, KEY)
        yield payload
    yield make_bundle(sign_statement(DIGESTS[1]), OTHER)
    yield simple_signing(DIGESTS[0], "registry.example/m")
    yield b'{"critical":{"type":"https://sigstore.dev/cosign/sign/v1","image":{"docker-manifest-digest":[]}}}'
    yield b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"","subject":[{"digest":[]}]}'
    yield (
        b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{}},'
        b'"dsseEnvelope":{"payloadType":"\\u0000","payload":"","signatures":{"sig":1}}}'
    )


def check(data: bytes) -> None:
    value_of(partial(read_statement, data))
    value_of(partial(signed_files, data))
    for digests in (DIGESTS, frozenset(DIGESTS)):
        for judge in (check_sign_statement, check_simple_signing):
            try:
                judge(data, digests)
            except InvalidSignature:
                value_of(partial(judge, data, digests))
    bundle = value_of(partial(parse_bundle, data))
    if bundle is not None and bundle.signed_by([KEY.public]) is not None:
        assert not bundle.certified
        assert bundle.envelope.payload in signed()


WORDS = json_words(
    "mediaType verificationMaterial publicKey certificate dsseEnvelope payload payloadType signatures sig subject "
    "digest predicate predicateType serialization resources method files hash_type ignore_paths critical image type",
    *(
        PREDICATE,
        STATEMENT,
        "application/vnd.in-toto+json",
        "docker-manifest-digest",
        "_type",
        *DIGESTS,
        "sha256",
        "1" * 64,
    ),
)
TARGET = Target("signature", check, seeds, WORDS, longest=2048)
