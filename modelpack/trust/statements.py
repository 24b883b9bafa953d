"""What is signed about a manifest: cosign's in-toto statement, and the older simple signing payload."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from modelpack.digests import digest_problem
from modelpack.document import read_object
from modelpack.errors import InvalidSignature

STATEMENT = "https://in-toto.io/Statement/v1"
_STATEMENTS = (STATEMENT, "https://in-toto.io/Statement/v0.1")
COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"
"""predicateType of what `cosign sign` writes since version 3. Other statements about an image (an SBOM, a provenance)
are no signature of it, whoever made them."""
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIMPLE_TYPES = ("cosign container image signature", COSIGN_SIGN)
MAX_PAYLOAD = 16 * 1024 * 1024  # bytes; model-signing lists every file


def sign_statement(digest: str) -> bytes:
    """The statement that a manifest is signed. `digest` is `sha256:…`."""
    algorithm, _, value = digest.partition(":")
    statement = {
        "_type": STATEMENT,
        "subject": [{"digest": {algorithm: value}}],
        "predicateType": COSIGN_SIGN,
        "predicate": {},
    }
    return json.dumps(statement, separators=(",", ":")).encode()


def read_statement(payload: bytes) -> dict[str, Any]:
    """An in-toto statement with at least one subject. Raises InvalidSignature."""
    statement = read_object(payload, limit=MAX_PAYLOAD, what="signed statement", error=InvalidSignature)
    subjects = statement.get("subject")
    if statement.get("_type") not in _STATEMENTS or not isinstance(statement.get("predicateType"), str):
        raise InvalidSignature("What is signed is no in-toto statement.")
    if not isinstance(subjects, list) or not subjects or not all(isinstance(entry, dict) for entry in subjects):
        raise InvalidSignature("The signed statement has no subject.")
    return statement


def check_sign_statement(payload: bytes, digests: Collection[str]) -> None:
    """That this is cosign's statement about one of the manifests `digests`. Raises InvalidSignature saying what it is
    about instead."""
    statement = read_statement(payload)
    if (kind := statement["predicateType"]) != COSIGN_SIGN:
        raise InvalidSignature(f"It is a statement of the type {kind[:120]!r}, not a signature of the manifest.")
    named = [name for subject in statement["subject"] for name in _names(subject)]
    if not set(named) & set(digests):
        raise InvalidSignature(f"It is a signature of {', '.join(named[:4]) or 'nothing'}, not of this model.")


def simple_signing(digest: str, name: str = "") -> bytes:
    """The older payload, as cosign writes it until version 2."""
    critical = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": _SIMPLE_TYPES[0],
    }
    return json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()


def check_simple_signing(payload: bytes, digests: Collection[str]) -> None:
    """That this is a simple signing payload about one of the manifests `digests`. Raises InvalidSignature."""
    document = read_object(payload, limit=MAX_PAYLOAD, what="simple signing payload", error=InvalidSignature)
    try:
        critical = document["critical"]
        kind, named = critical["type"], critical["image"]["docker-manifest-digest"]
    except (KeyError, TypeError):
        raise InvalidSignature("It is no simple signing payload.") from None
    if kind not in _SIMPLE_TYPES:
        raise InvalidSignature(f"It is a payload of the type {str(kind)[:120]!r}, not a signature of a manifest.")
    if not isinstance(named, str) or named not in digests:
        raise InvalidSignature(f"It is a signature of {str(named)[:100]}, not of this model.")


def _names(subject: dict[str, Any]) -> list[str]:
    digests = subject.get("digest")
    if not isinstance(digests, dict):
        return []
    named = [f"{algorithm}:{value}" for algorithm, value in digests.items()]
    return [name for name in named if not digest_problem(name)]
