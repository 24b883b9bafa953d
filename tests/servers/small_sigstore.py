"""A sigstore of a test's own: a certificate authority, a certificate log and a transparency log, with their trust root
in a file. What it signs, sigstore-python verifies like the public instance's; nothing asks the network."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from modelpack.trust.dsse import IN_TOTO, Envelope
from modelpack.trust.keys import PrivateKey

ISSUER = "https://accounts.example"
_ISSUER_OID = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_SCTS = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_START = datetime(2026, 1, 1, tzinfo=UTC)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _log_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_der(key)).digest()


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class SmallSigstore:
    """`signed_at`: when signatures are recorded; certificates are valid for the ten minutes from then on."""

    def __init__(self, signed_at: datetime = _START + timedelta(days=30)) -> None:
        self.signed_at = signed_at
        self._ca, self._ct, self._rekor = _key(), _key(), _key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.authority = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._ca.public_key())
            .serial_number(1)
            .not_valid_before(_START)
            .not_valid_after(_START + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._ca.public_key()), critical=False)
            .sign(self._ca, hashes.SHA256())
        )

    def trust_root(self, path: Path) -> Path:
        """Write trusted_root.json."""
        start = {"start": _START.isoformat().replace("+00:00", "Z")}

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            return {
                "baseUrl": "https://log.example",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {"rawBytes": _b64(_der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": start},
                "logId": {"keyId": _b64(_log_id(key))},
            }

        authority = {
            "subject": {"organization": "example", "commonName": "authority"},
            "uri": "https://authority.example",
            "certChain": {
                "certificates": [{"rawBytes": _b64(self.authority.public_bytes(serialization.Encoding.DER))}]
            },
            "validFor": start,
        }
        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self._rekor)],
            "certificateAuthorities": [authority],
            "ctlogs": [log(self._ct)],
            "timestampAuthorities": [],
        }
        path.write_text(json.dumps(document))
        return path

    def sign(self, payload: bytes, subject: str, issuer: str = ISSUER) -> bytes:
        """A bundle: the statement signed by a certificate of `subject` (a URI, or an e-mail address), and recorded."""
        key = _key()
        certificate = self._certificate(key, subject, issuer)
        signed = Envelope(IN_TOTO, payload, (PrivateKey(key).sign(Envelope(IN_TOTO, payload, ()).signed),))
        bundle = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": _b64(certificate.public_bytes(serialization.Encoding.DER))},
                "tlogEntries": [self._entry(signed, certificate)],
            },
            "dsseEnvelope": signed.document(),
        }
        return json.dumps(bundle).encode()

    def _certificate(self, key: ec.EllipticCurvePrivateKey, subject: str, issuer: str) -> x509.Certificate:
        named = x509.RFC822Name(subject) if "@" in subject else x509.UniformResourceIdentifier(subject)
        text = issuer.encode()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.signed_at)
            .not_valid_after(self.signed_at + timedelta(minutes=10))
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([named]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_OID, b"\x0c" + bytes([len(text)]) + text), critical=False)
        )
        before = builder.sign(self._ca, hashes.SHA256())
        return builder.add_extension(
            x509.UnrecognizedExtension(_SCTS, self._scts(before.tbs_certificate_bytes)), critical=False
        ).sign(self._ca, hashes.SHA256())

    def _scts(self, tbs: bytes) -> bytes:
        """RFC 6962: a list of one signed certificate timestamp, as an extension's value."""
        timestamp = int(self.signed_at.timestamp() * 1000)
        length = struct.pack("!I", len(tbs))[1:]
        entry = _log_id(self._ca) + length + tbs
        signature = _sign(self._ct, struct.pack("!BBQH", 0, 0, timestamp, 1) + entry + b"\0\0")
        sct = b"\0" + _log_id(self._ct) + struct.pack("!Q", timestamp) + b"\0\0\x04\x03"
        sct += struct.pack("!H", len(signature)) + signature
        listed = struct.pack("!H", len(sct)) + sct
        value = struct.pack("!H", len(listed)) + listed
        return b"\x04" + (bytes([len(value)]) if len(value) < 128 else b"\x81" + bytes([len(value)])) + value

    def _entry(self, envelope: Envelope, certificate: x509.Certificate) -> dict[str, Any]:
        """A record of a log that has no other."""
        verifier = _b64(certificate.public_bytes(serialization.Encoding.PEM))
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(b"").hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(envelope.payload).hexdigest()},
            "signatures": [{"signature": _b64(signature), "verifier": verifier} for signature in envelope.signatures],
        }
        body = json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}).encode()
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"log.example\n1\n{_b64(root)}\n"
        checkpoint = f"{note}\n— log.example {_b64(_log_id(self._rekor)[:4] + _sign(self._rekor, note.encode()))}\n"
        promised = {
            "body": _b64(body),
            "integratedTime": int(self.signed_at.timestamp()),
            "logID": _log_id(self._rekor).hex(),
            "logIndex": 0,
        }
        promise = _sign(self._rekor, json.dumps(promised, separators=(",", ":"), sort_keys=True).encode())
        return {
            "logIndex": "0",
            "logId": {"keyId": _b64(_log_id(self._rekor))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(promised["integratedTime"]),
            "inclusionPromise": {"signedEntryTimestamp": _b64(promise)},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": _b64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": _b64(body),
        }


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
