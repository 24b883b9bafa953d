"""GGUF headers, signatures and policies from anywhere."""

from __future__ import annotations

import base64
import json
import struct

from hypothesis import given
from hypothesis import strategies as st

from modelpack.trust.dsse import IN_TOTO
from tests.fuzz.targets import gguf, policy, signature
from tests.unit.modelpack.test_hostile_documents import anything


@given(st.data())
def test_gguf_files_with_changes(data):
    raw = bytearray(gguf.written(data.draw(st.sampled_from("<>")), data.draw(st.sampled_from([2, 3]))))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    gguf.check(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


counts = st.sampled_from([0, 1, 2, 3, 2**31, 2**63, 2**64 - 1])
kinds = st.integers(0, 13).map(lambda kind: struct.pack("<I", kind))
pieces = kinds | counts.map(lambda count: struct.pack("<Q", count)) | st.binary(max_size=9).map(gguf.text)


@given(counts, counts, st.lists(pieces, max_size=12))
def test_any_gguf_header(tensors, pairs, parts):
    gguf.check(b"GGUF" + struct.pack("<IQQ", 3, tensors, pairs) + b"".join(parts) + bytes(64))


names = st.sampled_from([*signature.DIGESTS, "sha256:" + "3" * 64, "", "sha256:1"])
statements = st.fixed_dictionaries(
    {},
    optional={
        "_type": st.just(signature.STATEMENT) | anything,
        "predicateType": st.just(signature.PREDICATE) | anything,
        "subject": st.lists(st.fixed_dictionaries({}, optional={"digest": anything}) | anything, max_size=2) | anything,
        "predicate": st.fixed_dictionaries(
            {}, optional={"serialization": anything, "resources": st.lists(anything, max_size=2) | anything}
        ),
        "critical": st.fixed_dictionaries(
            {},
            optional={"type": anything, "image": st.fixed_dictionaries({}, optional={"docker-manifest-digest": names})},
        ),
    },
)


@given(statements | anything)
def test_any_statement(document):
    signature.check(json.dumps(document).encode())


@given(st.binary(max_size=80) | st.sampled_from(signature.signed()), st.binary(max_size=80), st.booleans(), anything)
def test_any_bundle(payload, sig, certified, odd):
    """Signed statements under other types or with other signatures count for nothing."""
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"certificate" if certified else "publicKey": odd},
        "dsseEnvelope": {
            "payloadType": odd if certified else IN_TOTO,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"sig": base64.b64encode(sig).decode()}, odd],
        },
    }
    signature.check(json.dumps(bundle).encode())


rules = st.fixed_dictionaries(
    {},
    optional={
        "references": st.lists(st.sampled_from(["**", "registry.example/*", "", 7]), max_size=2),
        "keys": st.lists(st.sampled_from(["release.pub", policy.PEM, "none", "~x/y", "a\0"]) | anything, max_size=2),
        "identities": st.lists(anything, max_size=1),
        "accept": st.lists(st.sampled_from(["bundle", "legacy", "x"]), max_size=2),
        "allow_unsigned": st.booleans() | anything,
    },
)


@given(st.lists(rules, max_size=2) | anything, st.sampled_from([1, 1, True, "1"]))
def test_any_policy(listed, version):
    policy.check(json.dumps({"version": version, "rules": listed}).encode())
