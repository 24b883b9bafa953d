"""A registry on loopback that speaks TLS: what is said of it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings
from tests.servers.certificates import issue
from tests.servers.registry import Registry
from tests.servers.shell import Shell


async def test_the_endpoint_is_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = issue(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_bytes(b"{}")
    with Registry(tmp_path / "registry", certificate=(certificate.chain, certificate.key)) as registry:
        reference = f"{registry.host}/org/model:v1"
        (tmp_path / "home").mkdir()
        shell = Shell(tmp_path / "home", SSL_CERT_FILE=str(certificate.authority))
        assert shell.run("build", str(tmp_path / "model"), "-t", reference).returncode == 0
        assert shell.run("push", reference).returncode == 0
        origins = Origins(OriginSettings())
        try:
            artifact = await origins.resolve(reference)
            assert artifact.endpoint == f"https://{registry.host}"
            assert await origins.still(artifact, reference)
        finally:
            await origins.close()
