"""Run a notebook, cell after cell, in this process."""

from __future__ import annotations

import json
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "notebooks"


def run(name: str) -> dict[str, object]:
    """What its names are in the end. It is kept without outputs."""
    notebook = json.loads((_FOLDER / name).read_text())
    assert notebook["nbformat"] == 4
    names: dict[str, object] = {"__name__": "__main__"}  # so that Ray sends its classes along
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec(compile("".join(cell["source"]), f"{name}:{cell['id']}", "exec"), names)
    return names
