"""What the authority over nodes says, and what it does not."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from modeldist.errors import UsageError
from modeldist.transfer.tls.authority import BACKDATED, Authority, new_authority
from modeldist.transfer.tls.names import is_node, node_of, uri_of
from modeldist.transfer.tls.requests import new_request

NODE = "6f1c2d3e4b5a69788796a5b4c3d2e1f0"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(new_authority("a cluster"), time.time)


def test_a_certificate_names_the_node_and_nothing_of_what_the_request_names(authority: Authority) -> None:
    """Not an address, not another node, not an authority of its own: Dragonfly's finding 13."""
    key = ec.generate_private_key(ec.SECP256R1())
    wishes = x509.SubjectAlternativeName(
        [
            x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
            x509.DNSName("control.example"),
            x509.UniformResourceIdentifier(uri_of("another")),
        ]
    )
    asked = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "control.example")]))
        .add_extension(wishes, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = authority.certify(asked.public_bytes(Encoding.PEM).decode(), NODE, 60.0)
    made = x509.load_pem_x509_certificate(pem)
    names = made.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    assert list(names.value) == [x509.UniformResourceIdentifier(f"urn:modeldist:node:{NODE}")]
    assert names.critical and not list(made.subject)
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not made.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert made.public_key() == key.public_key()


def test_it_is_good_for_its_lifetime(authority: Authority) -> None:
    _, request = new_request()
    made = x509.load_pem_x509_certificate(authority.certify(request.decode(), NODE, 600.0))
    lasts = made.not_valid_after_utc - made.not_valid_before_utc
    assert lasts == datetime.timedelta(seconds=600 + BACKDATED)
    assert made.not_valid_after_utc - datetime.datetime.now(datetime.UTC) < datetime.timedelta(seconds=601)


def test_requests_that_are_none(authority: Authority) -> None:
    _, good = new_request()
    large = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    other = large.sign(rsa.generate_private_key(65537, 2048), hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    lines = good.decode().splitlines()
    broken = "\n".join([*lines[:-2], lines[-2][::-1], lines[-1]])
    body = good.decode()
    changed = body.replace(lines[2][:8], "AAAAAAAA")
    for request in ("", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\n", other, broken, changed, body * 100, "ä"):
        with pytest.raises(UsageError):
            authority.certify(request, NODE, 60.0)
    for node in ("", "a b", "a\n", "ä", "x" * 129, "a/b"):
        with pytest.raises(UsageError):
            authority.certify(body, node, 60.0)


def test_names() -> None:
    assert node_of((("URI", uri_of(NODE)),)) == NODE
    for names in (
        None,
        (),
        (("DNS", uri_of(NODE)),),
        (("URI", NODE),),
        (("URI", "urn:modeldist:node:"),),
        (("URI", uri_of("a b")),),
        (("URI", uri_of(NODE)), ("URI", uri_of("another"))),
        (("URI", uri_of(NODE)), ("IP Address", "10.0.0.1")),
    ):
        assert node_of(names) == "", names
    assert is_node("node-1.rack_2") and not is_node("../x")


def test_an_ordinary_client_takes_it_for_no_host(authority: Authority, tmp_path: Path) -> None:
    """Also one that was told to trust the authority."""
    key, request = new_request()
    (tmp_path / "pair.pem").write_bytes(key + authority.certify(request.decode(), "127.0.0.1", 60.0))
    (tmp_path / "authority.pem").write_bytes(authority.certificate)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "pair.pem")
    client = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    asking = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"IP address mismatch|Hostname mismatch"):
        for end in (asking, serving) * 3:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
