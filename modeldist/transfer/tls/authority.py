"""The cluster's own certificate authority: it says which key is which node's, and nothing else.

Of a request only the key counts. Whatever else one says, names and addresses and what the certificate shall be good
for, is left out.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from modeldist.errors import UsageError
from modeldist.transfer.tls.names import is_node, uri_of

BACKDATED = 3600.0  # seconds; clocks differ
_LASTS = datetime.timedelta(days=3650)  # of the authority; nodes get it anew with every certificate
MAX_CSR = 16 << 10  # characters; one of ours has 400


def new_authority(cluster: str) -> bytes:
    """PEM: a fresh key, and the certificate that it signs for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"modeldist nodes of {cluster}"[:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        _builder(name, name, key.public_key(), now - datetime.timedelta(seconds=BACKDATED), now + _LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem + certificate.public_bytes(Encoding.PEM)


class Authority:
    """Held by the control plane. `pem`: what `new_authority` made (ValueError otherwise). `now`: seconds since the
    epoch."""

    def __init__(self, pem: bytes, now: Callable[[], float]) -> None:
        key = load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the authority's key is no key on a curve")
        self._key = key
        self._own = x509.load_pem_x509_certificate(pem)
        self._now = now
        self.certificate: bytes = self._own.public_bytes(Encoding.PEM)
        """PEM: what nodes trust."""

    def certify(self, request: str, node: str, lifetime: float) -> bytes:
        """PEM: for `lifetime` seconds from now the key of `request` (PEM) is `node`'s. Raises UsageError for a request
        that is none, or that somebody else's key signed."""
        key = _key_of(request)
        if not is_node(node):
            raise UsageError(f"{node[:128]!r} is no node's id that a certificate can name.")
        now = self._now()
        made = (
            _builder(x509.Name([]), self._own.subject, key, _date(now - BACKDATED), _date(now + lifetime))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri_of(node))]),
                critical=True,  # as RFC 5280 has it where there is no subject
            )
        )
        return made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _key_of(request: str) -> ec.EllipticCurvePublicKey:
    remedy = "Send a PKCS#10 request in PEM, signed by a P-256 key of its own."
    try:
        if len(request) > MAX_CSR:
            raise ValueError("too long")
        asked = x509.load_pem_x509_csr(request.encode())
        key = asked.public_key()
        right = asked.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError("The request for a certificate cannot be read.", remedy=remedy) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError("The request for a certificate has another kind of key.", remedy=remedy)
    if not right:
        raise UsageError("The request for a certificate is not signed by its own key.", remedy=remedy)
    return key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _date(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
