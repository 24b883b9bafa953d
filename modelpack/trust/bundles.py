"""Sigstore bundles: an envelope with what is needed to verify it, here a hint of a key. Version 0.3, in JSON.

Bundles with a certificate are `keyless`' business; this module only tells them apart.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from modelpack.document import read_object, without_nulls
from modelpack.errors import InvalidSignature
from modelpack.referrers import SIGSTORE_BUNDLE
from modelpack.trust.dsse import IN_TOTO, Envelope, parse_envelope
from modelpack.trust.keys import PrivateKey, PublicKey

MAX_BUNDLE = 16 * 1024 * 1024  # bytes
MEDIA_TYPES = (
    SIGSTORE_BUNDLE,
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A parsed bundle. `raw` is what a library for keyless signatures reads."""

    raw: bytes = field(repr=False)
    envelope: Envelope
    certified: bool
    """Signed with a certificate, not with a key that the verifier has to know."""

    def signed_by(self, keys: Iterable[PublicKey]) -> PublicKey | None:
        """Which of the keys signed it. A certificate's own key is never asked: anybody can make one."""
        if self.certified:
            return None
        signed = self.envelope.signed
        for key in keys:
            if any(key.verifies(signature, signed) for signature in self.envelope.signatures):
                return key
        return None


def parse_bundle(raw: bytes) -> Bundle:
    """Raises InvalidSignature."""
    document = read_object(raw, limit=MAX_BUNDLE, what="signature bundle", error=InvalidSignature)
    if document.get("mediaType") not in MEDIA_TYPES:
        raise InvalidSignature(f"Its mediaType {str(document.get('mediaType'))[:100]!r} is that of no sigstore bundle.")
    document = without_nulls(document)
    material = document.get("verificationMaterial")
    if not isinstance(material, dict):
        raise InvalidSignature("The sigstore bundle has no verificationMaterial.")
    if "dsseEnvelope" not in document:
        raise InvalidSignature("The sigstore bundle signs a blob, not a statement about a model.")
    certified = "certificate" in material or "x509CertificateChain" in material
    if certified == ("publicKey" in material):
        raise InvalidSignature("The sigstore bundle names not just one of a key and a certificate.")
    envelope = parse_envelope(document["dsseEnvelope"])
    if envelope.payload_type != IN_TOTO:  # a key may sign other things, too; what they say is another matter
        raise InvalidSignature(f"The sigstore bundle signs {envelope.payload_type[:100]!r}, not {IN_TOTO}.")
    return Bundle(raw, envelope, certified)


def make_bundle(payload: bytes, key: PrivateKey) -> bytes:
    """Sign an in-toto statement, as `cosign sign --key` does, without a transparency log."""
    unsigned = Envelope(IN_TOTO, payload, ())
    envelope = Envelope(IN_TOTO, payload, (key.sign(unsigned.signed),))
    hint = base64.b64encode(hashlib.sha256(key.public.der).digest()).decode()
    document = {
        "mediaType": SIGSTORE_BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": hint}},
        "dsseEnvelope": envelope.document(),
    }
    return json.dumps(document, separators=(",", ":")).encode()
