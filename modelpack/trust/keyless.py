"""Signatures without a key of one's own: a short-lived certificate for an identity, recorded in a transparency log.

sigstore-python verifies them (certificate chain, SCT, log inclusion, times) against a trust root in a file, without
any network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelpack.errors import InvalidPolicy, InvalidSignature

if TYPE_CHECKING:
    from sigstore.verify import Verifier

    from modelpack.trust.bundles import Bundle


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose certificate counts: `issuer` is who vouches for the identity (an OIDC issuer's URL), `subject` the e-mail
    address or URI, or `subject_regex` a pattern for the whole of it. `trust_root`: sigstore's trusted_root.json."""

    issuer: str
    trust_root: Path
    subject: str = ""
    subject_regex: str = ""

    @property
    def name(self) -> str:
        return f"{self.subject or self.subject_regex} of {self.issuer}"

    def names(self, subject: str) -> bool:
        if self.subject:
            return subject == self.subject
        return re.fullmatch(self.subject_regex, subject) is not None


def verify_keyless(bundle: Bundle, identity: Identity) -> bytes:
    """The payload that the identity signed. Raises InvalidSignature saying what is wrong; InvalidPolicy when the trust
    root cannot be used or the extra `trust` is not installed."""
    verifier = _verifier(identity.trust_root)
    from sigstore.errors import Error, VerificationError
    from sigstore.models import Bundle as SigstoreBundle

    try:
        kind, payload = verifier.verify_dsse(SigstoreBundle.from_json(bundle.raw), _Policy(identity))
    except (Error, VerificationError) as error:
        raise InvalidSignature(f"sigstore refuses it: {_first_line(error)}.") from None
    except Exception as error:  # what a hostile bundle makes of the libraries below is a refusal, too
        raise InvalidSignature(f"sigstore cannot read it: {_first_line(error)}.") from None
    if kind != bundle.envelope.payload_type or payload != bundle.envelope.payload:
        raise InvalidSignature("sigstore reads another payload out of it.")
    return payload


class _Policy:
    """sigstore.verify.policy.VerificationPolicy: the issuer, and one of the certificate's names."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def verify(self, cert: Any) -> None:
        from cryptography.x509 import (
            ExtensionNotFound,
            RFC822Name,
            SubjectAlternativeName,
            UniformResourceIdentifier,
        )
        from sigstore.errors import VerificationError
        from sigstore.verify.policy import OIDCIssuer, OIDCIssuerV2

        try:
            OIDCIssuerV2(self._identity.issuer).verify(cert)
        except VerificationError:
            OIDCIssuer(self._identity.issuer).verify(cert)
        try:
            names = cert.extensions.get_extension_for_class(SubjectAlternativeName).value
        except ExtensionNotFound:
            raise VerificationError("the certificate names nobody") from None
        found = [*names.get_values_for_type(RFC822Name), *names.get_values_for_type(UniformResourceIdentifier)]
        if not any(self._identity.names(name) for name in found):
            raise VerificationError(f"it is signed by {', '.join(found)}")


@lru_cache(maxsize=16)
def _verifier(trust_root: Path) -> Verifier:
    try:
        from sigstore.models import TrustedRoot
        from sigstore.verify import Verifier
    except ImportError:
        raise InvalidPolicy(
            "Signatures with a certificate (keyless) need sigstore.",
            remedy="Install the extra: pip install '.[trust]' in a checkout.",
        ) from None
    try:
        return Verifier(trusted_root=TrustedRoot.from_file(str(trust_root)))
    except Exception as error:
        raise InvalidPolicy(
            f"The trust root {trust_root} cannot be used: {_first_line(error)}.",
            remedy="It is sigstore's trusted_root.json: `cosign trusted-root create` makes one.",
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300].rstrip(".")
