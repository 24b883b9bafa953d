"""Certificates for test servers on loopback, issued by an authority of their own.

issued = issue(tmp_path)
Registry(…, certificate=(issued.chain, issued.key)); SSL_CERT_FILE=issued.authority
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Issued(NamedTuple):
    """PEM files: what to trust, what to serve, and its key."""

    authority: Path
    chain: Path
    key: Path


def issue(folder: Path, address: str = "127.0.0.1") -> Issued:
    """For the server at `address`, valid for a day before and after now."""
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("An authority of the tests", "An authority of the tests", root, root, authority=True)
    server = _certificate(address, "An authority of the tests", key, root, authority=False)
    folder.mkdir(parents=True, exist_ok=True)
    issued = Issued(folder / "authority.pem", folder / "chain.pem", folder / "key.pem")
    issued.authority.write_bytes(authority.public_bytes(Encoding.PEM))
    issued.chain.write_bytes(server.public_bytes(Encoding.PEM))
    issued.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return issued


def _certificate(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, *, authority: bool
) -> x509.Certificate:
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
    )
    if not authority:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(subject))])
        made = made.add_extension(names, critical=False)
    return made.sign(by, hashes.SHA256())
