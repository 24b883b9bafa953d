"""Which control plane a command speaks to."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from modeldist.cli import control_plane
from modeldist.cli.control_plane import control_url
from modeldist.cli.main import program
from modeldist.errors import ControlPlaneUnreachable, UsageError


def test_named_then_of_the_environment_then_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("MODELDIST_SERVER", raising=False)
    with pytest.raises(UsageError, match="No control plane"):
        control_url(None)
    (tmp_path / "modeldist").mkdir()
    (tmp_path / "modeldist" / "admin.token").write_text("md_x_y")
    assert control_url(None) == "http://127.0.0.1:7420"
    monkeypatch.setenv("MODELDIST_SERVER", "https://control:7420")
    assert control_url(None) == "https://control:7420"
    assert control_url("https://other:1") == "https://other:1"


@pytest.mark.parametrize("command", [("status",), ("why", "org/model:v1"), ("top", "--once")])
def test_a_control_plane_that_says_nothing_is_named_soon(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As one whose process was stopped: the kernel still takes its connections."""
    monkeypatch.setattr(control_plane, "ITS_OWN", 0.2)
    monkeypatch.setattr("modeldist.cli.commands.top.ITS_OWN", 0.2)
    monkeypatch.setenv("MODELDIST_TOKEN", "token")
    with socket.create_server(("127.0.0.1", 0)) as stopped:
        url = f"http://127.0.0.1:{stopped.getsockname()[1]}"
        done = CliRunner().invoke(program, [*command, "--server", url, "--socket", str(tmp_path / "none")])
    assert done.exit_code == ControlPlaneUnreachable.exit_code
    assert f"The control plane at {url} does not answer: it said nothing for 0." in done.stderr
    assert "`modeldist server`" in done.stderr
