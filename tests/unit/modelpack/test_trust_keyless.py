"""Signatures of identities: sigstore-python judges what a certificate authority and logs of our own made."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import InvalidPolicy, InvalidSignature
from modelpack.trust.bundles import parse_bundle
from modelpack.trust.keyless import Identity, verify_keyless
from modelpack.trust.statements import check_sign_statement, sign_statement
from tests.servers.small_sigstore import ISSUER, SmallSigstore

DIGEST = "sha256:" + "a" * 64
WORKFLOW = "https://github.com/org/models/.github/workflows/release.yml@refs/tags/v1"


@pytest.fixture(scope="module")
def sigstore() -> SmallSigstore:
    return SmallSigstore()


@pytest.fixture
def root(sigstore: SmallSigstore, tmp_path: Path) -> Path:
    return sigstore.trust_root(tmp_path / "trusted_root.json")


def changed(raw: bytes, change: Any) -> bytes:
    document = json.loads(raw)
    change(document)
    return json.dumps(document).encode()


def test_an_accepted_identity(sigstore: SmallSigstore, root: Path) -> None:
    bundle = parse_bundle(sigstore.sign(sign_statement(DIGEST), WORKFLOW))
    assert bundle.certified
    check_sign_statement(verify_keyless(bundle, Identity(ISSUER, root, WORKFLOW)), [DIGEST])
    pattern = Identity(ISSUER, root, subject_regex=r"https://github\.com/org/.*")
    assert verify_keyless(bundle, pattern) == bundle.envelope.payload
    mail = parse_bundle(sigstore.sign(sign_statement(DIGEST), "release@example.com"))
    assert verify_keyless(mail, Identity(ISSUER, root, "release@example.com")) == mail.envelope.payload


@pytest.mark.parametrize(
    ("issuer", "subject", "regex"),
    [
        ("https://elsewhere.example", WORKFLOW, ""),
        (ISSUER, "https://github.com/org/models", ""),
        (ISSUER, "", r"https://github\.com/other/.*"),
        (ISSUER, "", r"https://github\.com/org"),  # a pattern is for the whole of it
    ],
)
def test_another_identity(sigstore: SmallSigstore, root: Path, issuer: str, subject: str, regex: str) -> None:
    bundle = parse_bundle(sigstore.sign(sign_statement(DIGEST), WORKFLOW))
    with pytest.raises(InvalidSignature, match="sigstore refuses it"):
        verify_keyless(bundle, Identity(issuer, root, subject, regex))


def test_an_authority_that_is_not_in_the_trust_root(root: Path) -> None:
    bundle = parse_bundle(SmallSigstore().sign(sign_statement(DIGEST), WORKFLOW))
    with pytest.raises(InvalidSignature, match="sigstore refuses it"):
        verify_keyless(bundle, Identity(ISSUER, root, WORKFLOW))


def _other_statement(document: dict[str, Any]) -> None:
    document["dsseEnvelope"]["payload"] = base64.b64encode(sign_statement("sha256:" + "b" * 64)).decode()


def _unrecorded(document: dict[str, Any]) -> None:
    document["verificationMaterial"]["tlogEntries"] = []


def _later(document: dict[str, Any]) -> None:
    document["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1800000000"


def _other_root(document: dict[str, Any]) -> None:
    proof = document["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    proof["rootHash"] = base64.b64encode(bytes(32)).decode()


def _no_certificate(document: dict[str, Any]) -> None:
    document["verificationMaterial"]["certificate"]["rawBytes"] = base64.b64encode(b"none").decode()


@pytest.mark.parametrize("change", [_other_statement, _unrecorded, _later, _other_root, _no_certificate])
def test_a_bundle_that_was_changed(sigstore: SmallSigstore, root: Path, change: Any) -> None:
    raw = changed(sigstore.sign(sign_statement(DIGEST), WORKFLOW), change)
    with pytest.raises(InvalidSignature, match="sigstore"):
        verify_keyless(parse_bundle(raw), Identity(ISSUER, root, WORKFLOW))


def test_a_trust_root_that_is_none(sigstore: SmallSigstore, tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text("{}")
    bundle = parse_bundle(sigstore.sign(sign_statement(DIGEST), WORKFLOW))
    with pytest.raises(InvalidPolicy, match=r"trust root .*root\.json cannot be used"):
        verify_keyless(bundle, Identity(ISSUER, tmp_path / "root.json", WORKFLOW))
