"""Which control plane a command speaks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeldist.cli.control_plane import control_url
from modeldist.errors import UsageError


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
