"""The notebook does what it says, cell after cell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.servers.registry import Registry

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "ray.ipynb"


def test_every_cell_runs(
    serving: None,
    published: str,
    registry: Registry,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODEL", published)
    notebook = json.loads(NOTEBOOK.read_text())
    assert notebook["nbformat"] == 4
    names: dict[str, object] = {"__name__": "__main__"}  # so that Ray sends its classes along
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}:{cell['id']}", "exec"), names)
    said = capsys.readouterr().out
    assert "MB from the registry" in said
    assert "tuesday" in said
    assert "nodes; 0 have failed" in said
    read = sum(access.bytes for access in registry.access_log() if access.method == "GET" and access.blob)
    size = sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    assert (model / "model.safetensors").stat().st_size < read < size + 1_000_000
