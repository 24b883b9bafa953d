"""DSSE: an envelope of a payload, its type, and signatures over both (github.com/secure-systems-lab/dsse)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from modelpack.errors import InvalidSignature

IN_TOTO = "application/vnd.in-toto+json"
MAX_SIGNATURES = 8


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed (pre-authentication encoding): neither part can be taken for the other."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Envelope:
    payload_type: str
    payload: bytes = field(repr=False)
    signatures: tuple[bytes, ...] = field(repr=False)

    @property
    def signed(self) -> bytes:
        return pae(self.payload_type, self.payload)

    def document(self) -> dict[str, Any]:
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"sig": base64.b64encode(signature).decode()} for signature in self.signatures],
        }


def parse_envelope(document: Any) -> Envelope:
    """Raises InvalidSignature."""
    try:
        kind, payload = document["payloadType"], from_base64(document["payload"])
        found = [from_base64(entry["sig"]) for entry in document["signatures"]]
    except (KeyError, TypeError, InvalidSignature):
        raise InvalidSignature("The signature's DSSE envelope is malformed.") from None
    if not isinstance(kind, str) or not 0 < len(found) <= MAX_SIGNATURES:
        raise InvalidSignature(f"The signature's DSSE envelope has {len(found)} signatures.")
    return Envelope(kind, payload, tuple(found))


def from_base64(text: Any) -> bytes:
    """Raises InvalidSignature."""
    try:
        if not isinstance(text, str):
            raise ValueError(text)
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSignature("The signature holds text that is not base64.") from None
