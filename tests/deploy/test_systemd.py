"""The units: what they run is what the program takes, and systemd finds nothing wrong with them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from modeldist.agent.serving import split_address
from modeldist.agent.settings import AgentSettings
from modeldist.control.settings import ServerSettings
from tests.deploy import told
from tests.deploy.helm import ROOT

FOLDER = ROOT / "deploy" / "systemd"
UNITS = ("modeldist-server.service", "modeldist-agent.service")
MOST_EXPOSED = 20  # tenths; systemd-analyze security: 100 is a service without any hardening
RDMA = FOLDER / "modeldist-agent.service.d" / "rdma.conf"
JOIN = RDMA.with_name("join.conf")
METRICS = RDMA.with_name("metrics.conf")
UPDATE = RDMA.with_name("update.conf")


def unit(*paths: Path) -> dict[str, list[str]]:
    """Directives of [Service]; an empty one empties what came before."""
    found: dict[str, list[str]] = {}
    for path in paths:
        section = ""
        for line in path.read_text().splitlines():
            if line.startswith("["):
                section = line
            elif section == "[Service]" and line and not line.startswith("#"):
                name, _, value = line.partition("=")
                found.setdefault(name, []).append(value)
                if not value:
                    found[name] = []
    return found


def settings(name: str, folder: Path, *more: Path) -> ServerSettings | AgentSettings:
    directives = unit(FOLDER / f"modeldist-{name}.service", *more)
    state, run, secrets = folder / "state", folder / "run", folder / "credentials"
    for line in directives.get("LoadCredential", ()):
        told.token_file(secrets).rename(secrets / line.partition(":")[0])
    for place in (state, run):
        place.mkdir()
    environment = {"STATE_DIRECTORY": str(state), "RUNTIME_DIRECTORY": str(run), "CREDENTIALS_DIRECTORY": str(secrets)}
    for line in directives["Environment"]:
        environment |= dict(word.split("=", 1) for word in shlex.split(line.replace("%d", str(secrets))))
    for line in (FOLDER / f"{name}.env").read_text().splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            environment[key] = value
    told.check_names(environment)
    (command,) = directives["ExecStart"]
    words = [told.substituted(word, environment, "braces") for word in command.split()]
    if words[1] == "launch":
        assert words[2:4] == ["--versions", f"{state}/versions"]
        words[1:4] = []
    return told.settings_of(words, environment)


def test_the_control_plane(tmp_path: Path) -> None:
    found = settings("server", tmp_path)
    assert isinstance(found, ServerSettings)
    found.check_exposure()
    assert found.state_dir == tmp_path / "state"
    assert found.log_format == "json"


def test_the_agent(tmp_path: Path) -> None:
    found = settings("agent", tmp_path)
    assert isinstance(found, AgentSettings)
    assert found.secret().startswith("md_")
    assert (found.store, found.socket) == (tmp_path / "state", tmp_path / "run" / "agent.sock")
    assert (found.rdma, found.log_json) == ("off", True)
    assert split_address(found.listen)[1] == 7421
    assert split_address(found.gateway) == ("127.0.0.1", 7430)


def test_memory_may_be_locked_where_there_is_rdma_and_nowhere_else(tmp_path: Path) -> None:
    found = settings("agent", tmp_path, RDMA)
    assert isinstance(found, AgentSettings)
    assert found.rdma == "auto"
    alone, together = unit(FOLDER / UNITS[1]), unit(FOLDER / UNITS[1], RDMA)
    assert "LimitMEMLOCK" not in alone
    assert together["LimitMEMLOCK"] == ["infinity"]
    assert alone["PrivateDevices"] == ["yes"]
    assert any("infiniband_verbs" in each for each in together["DeviceAllow"])


def test_a_node_is_enrolled_by_a_token_of_its_own(tmp_path: Path) -> None:
    found = settings("agent", tmp_path, JOIN)
    assert isinstance(found, AgentSettings)
    assert found.join_secret()
    assert not found.secret()
    assert unit(FOLDER / UNITS[1], JOIN)["LoadCredential"] == ["join.token:/etc/modeldist/join.token"]


def test_metrics_are_read_with_a_token_that_is_handed_over(tmp_path: Path) -> None:
    found = settings("agent", tmp_path, METRICS)
    assert isinstance(found, AgentSettings)
    assert found.metrics_token_file == tmp_path / "credentials" / "metrics.token"
    assert not found.metrics  # until agent.env says where
    (address,) = [line for line in (FOLDER / "agent.env").read_text().splitlines() if "AGENT_METRICS=" in line]
    with_it = found.model_copy(update={"metrics": address.partition("=")[2]})
    assert split_address(with_it.metrics)[1] == 7431
    assert with_it.metrics_token()


def test_an_agent_that_updates_itself(tmp_path: Path) -> None:
    """One signal goes to the launcher, which passes it on."""
    found = settings("agent", tmp_path, UPDATE)
    assert isinstance(found, AgentSettings)
    assert found.release_key == Path("/etc/modeldist/release.pub")
    assert found.secret().startswith("md_")
    assert unit(FOLDER / UNITS[1], UPDATE)["KillMode"] == ["mixed"]


def test_lines_that_are_left_out_are_settings_too() -> None:
    for name in ("server", "agent"):
        lines = [line.lstrip("#") for line in (FOLDER / f"{name}.env").read_text().splitlines()]
        told.check_names({line.partition("=")[0]: "" for line in lines if line.startswith(("MODELDIST_", "SSL_"))})


def test_the_token_is_handed_over_as_a_credential() -> None:
    assert unit(FOLDER / UNITS[1])["LoadCredential"] == ["agent.token:/etc/modeldist/agent.token"]
    for name in UNITS:
        assert "MODELDIST_AGENT_TOKEN=" not in (FOLDER / name).read_text()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, of a program that is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    for name in UNITS:
        text = (FOLDER / name).read_text().replace("/opt/modeldist/bin/modeldist", shutil.which("true") or "/bin/true")
        (tmp_path / name).write_text(text)
    (tmp_path / RDMA.parent.name).mkdir()
    for drop_in in (RDMA, JOIN, METRICS, UPDATE):
        text = drop_in.read_text().replace("/opt/modeldist/bin/modeldist", shutil.which("true") or "/bin/true")
        (tmp_path / RDMA.parent.name / drop_in.name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_them(installed: Path, name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(installed / name)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "modeldist" in line], done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_them_little_exposed(installed: Path, name: str) -> None:
    shutil.rmtree(installed / RDMA.parent.name)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(installed / name)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-600:] + done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_what_is_taken_from_them_is_taken(name: str) -> None:
    """Line by line: the sum of `systemd-analyze security` lets one go."""
    lines = unit(FOLDER / name)
    for option in (
        *(
            "NoNewPrivileges",
            "PrivateDevices",
            "PrivateTmp",
            "ProtectHome",
            "ProtectKernelModules",
            "ProtectKernelTunables",
        ),
        *("ProtectControlGroups", "RestrictNamespaces", "RestrictSUIDSGID", "LockPersonality"),
    ):
        assert lines[option] == ["yes"], option
    assert lines["ProtectSystem"] == ["strict"]
    assert "User" in lines
    assert (FOLDER / name).read_text().count("\nCapabilityBoundingSet=\nAmbientCapabilities=\n") == 1
