"""The notebook does what it says, cell after cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import notebooks
from tests.servers.registry import Registry


def test_every_cell_runs(
    serving: None,
    published: str,
    registry: Registry,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODEL", published)
    notebooks.run("ray.ipynb")
    said = capsys.readouterr().out
    assert "MB from the registry" in said
    assert "tuesday" in said
    assert "nodes; 0 have failed" in said
    read = sum(access.bytes for access in registry.access_log() if access.method == "GET" and access.blob)
    size = sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    assert (model / "model.safetensors").stat().st_size < read < size + 1_000_000
