"""A registry that speaks TLS on this machine, with a certificate of an authority of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from tests.servers.certificates import Issued, issue
from tests.servers.registry import PASSWORD, USERNAME, Registry
from tests.servers.shell import Shell

SKOPEO = ("skopeo", "inspect", "--raw")
WEIGHTS = bytes(range(256)) * 8192


@pytest.fixture
def certificate(tmp_path: Path) -> Issued:
    return issue(tmp_path / "tls")


@pytest.fixture(params=["none", "basic"])
def registry(request: pytest.FixtureRequest, tmp_path: Path, certificate: Issued) -> Iterator[Registry]:
    pair = (certificate.chain, certificate.key)
    with Registry(tmp_path / "registry", auth=request.param, certificate=pair) as running:
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    (folder / "model.bin").write_bytes(WEIGHTS)
    return folder


def pushed(registry: Registry, certificate: Issued, home: Path, model: Path) -> tuple[Shell, str]:
    """The shell of someone who trusts the authority, and what they pushed."""
    home.mkdir(exist_ok=True)
    shell = Shell(home, SSL_CERT_FILE=str(certificate.authority))
    reference = f"{registry.host}/org/model:v1"
    assert shell.run("build", str(model), "-t", reference).returncode == 0
    login = shell.run("login", registry.host, "-u", USERNAME, "--password-stdin", stdin=PASSWORD)
    assert login.returncode == 0, login.stderr
    done = shell.run("push", reference)
    assert done.returncode == 0, done.stderr
    return shell, reference


def test_login_push_inspect_pull(registry: Registry, certificate: Issued, tmp_path: Path, model: Path) -> None:
    shell, reference = pushed(registry, certificate, tmp_path / "user", model)
    assert json.loads(shell.run("inspect", "--json", reference).stdout)["files"]
    path = shell.pull(reference)
    assert (path / "model.bin").read_bytes() == WEIGHTS
    before = registry.blob_bytes()
    assert shell.pull(reference) == path
    assert registry.blob_bytes() == before


def test_an_authority_nobody_trusts(registry: Registry, certificate: Issued, tmp_path: Path, model: Path) -> None:
    _, reference = pushed(registry, certificate, tmp_path / "user", model)
    (tmp_path / "stranger").mkdir()
    stranger = Shell(tmp_path / "stranger")
    for command in (
        ("pull", reference),
        ("inspect", reference),
        ("login", registry.host, "-u", "me", "--password-stdin"),
    ):
        done = stranger.run(*command, stdin="secret")
        assert done.returncode == 8, done.stderr
        said = " ".join(done.stderr.split())
        assert f"The certificate of {registry.host} cannot be verified" in said
        assert "Set SSL_CERT_FILE" in said
        assert "Traceback" not in said


def test_skopeo_reads_what_was_pushed(registry: Registry, certificate: Issued, tmp_path: Path, model: Path) -> None:
    if which("skopeo") is None:
        pytest.skip("skopeo is not installed (Debian: apt-get install skopeo)")
    _, reference = pushed(registry, certificate, tmp_path / "user", model)
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "ca.crt").write_bytes(certificate.authority.read_bytes())
    raw = subprocess.run(
        [*SKOPEO, "--cert-dir", str(folder), f"--creds={USERNAME}:{PASSWORD}", f"docker://{reference}"],
        capture_output=True,
        check=True,
    ).stdout
    assert json.loads(raw)["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
