"""The certificate of a control plane on a Ray cluster, in handshakes as agents make them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from modeldist.ray.certificate import self_signed, still_good, trusting_also, write_secret


def handshake(folder: Path, bundle: Path, host: str) -> None:
    """Between two ends in memory. Raises ssl.SSLError."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    asking = ssl.create_default_context(cafile=str(bundle))
    asking.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by default
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        asking.wrap_bio(to_client, to_server, server_hostname=host),
        serving.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].version()


@pytest.mark.parametrize("address", ["10.0.0.7", "fd00::7"])
def test_agents_trust_it_for_its_address_alone(tmp_path: Path, address: str) -> None:
    certificate, key = self_signed(address)
    (tmp_path / "certificate.pem").write_bytes(certificate)
    write_secret(tmp_path / "key.pem", key)
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    bundle = tmp_path / "to come" / "bundle.pem"
    assert trusting_also(certificate, bundle) == {"SSL_CERT_FILE": str(bundle)}
    handshake(tmp_path, bundle, address)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(tmp_path, bundle, "10.0.0.8")
    other, _ = self_signed(address)
    trusting_also(other, bundle)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, bundle, address)


def test_what_was_trusted_before_still_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    company, _ = self_signed("10.0.0.1")
    (tmp_path / "company.pem").write_bytes(company)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "company.pem"))
    ours, _ = self_signed("10.0.0.7")
    trusting_also(ours, tmp_path / "bundle.pem")
    context = ssl.create_default_context(cafile=str(tmp_path / "bundle.pem"))
    names = {str(each["subject"]) for each in context.get_ca_certs()}
    assert any("10.0.0.1" in name for name in names)
    assert any("10.0.0.7" in name for name in names)


def test_one_is_made_where_there_is_none(tmp_path: Path) -> None:
    place = tmp_path / "certificate.pem"
    assert not still_good(place)
    place.write_bytes(self_signed("10.0.0.7")[0])
    assert still_good(place)
