"""The certificate that a control plane on a Ray cluster shows its agents: for one address, trusted for itself.

Agents are handed it by Ray, so no authority has to be there before; tokens never cross the network in the clear.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = datetime.timedelta(days=825)  # the longest that some verifiers take (Apple, HT210176)


def self_signed(address: str) -> tuple[bytes, bytes]:
    """PEM: the certificate for this IP address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"modeldist at {address}")])
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), pem


def still_good(certificate: Path) -> bool:
    """Whether it is there, and will not expire within a month."""
    if not certificate.exists():
        return False
    end = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    return end - datetime.datetime.now(datetime.UTC) > datetime.timedelta(days=30)


def write_secret(path: Path, content: bytes) -> None:
    """For its owner alone, from the first moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def trusting_also(certificate: bytes, bundle: Path) -> dict[str, str]:
    """What to add to the environment of a process that shall trust this certificate beside all that it trusts anyway;
    `bundle` is the file that is written for it."""
    usual = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    known = Path(usual).read_bytes() if usual and Path(usual).is_file() else b""
    bundle.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = bundle.with_name(bundle.name + ".new")
    fresh.write_bytes(known + b"\n" + certificate)
    fresh.replace(bundle)
    return {"SSL_CERT_FILE": str(bundle)}
