"""Run a notebook, cell after cell, in this process; `python -m tests.notebooks NAME…` keeps what its cells give."""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "notebooks"
Output = dict[str, Any]


def run(name: str, keep: Callable[[dict[str, Any], list[Output]], None] | None = None) -> dict[str, object]:
    """What its names are in the end. `keep` is told of each cell of code and what it gave."""
    names: dict[str, object] = {"__name__": "__main__"}  # so that Ray sends its classes along
    for cell in _cells(read(name)):
        place = f"{name}:{cell['id']}"
        tree = ast.parse("".join(cell["source"]), place)
        last = tree.body.pop() if keep is not None and tree.body and isinstance(tree.body[-1], ast.Expr) else None
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed) if keep is not None else contextlib.nullcontext():
            exec(compile(tree, place, "exec"), names)
            value = None
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), place, "eval"), names)
        if keep is not None:
            keep(cell, _outputs(printed.getvalue(), value))
    return names


def read(name: str) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads((FOLDER / name).read_text())
    assert notebook["nbformat"] == 4
    return notebook


def write(name: str) -> None:
    """Run it and keep its outputs in it."""
    outputs: dict[str, list[Output]] = {}
    run(name, lambda cell, gave: outputs.__setitem__(cell["id"], gave))
    notebook = read(name)
    for number, cell in enumerate(_cells(notebook), 1):
        cell["outputs"], cell["execution_count"] = outputs[cell["id"]], number
        for output in cell["outputs"]:
            if output["output_type"] == "execute_result":
                output["execution_count"] = number
    (FOLDER / name).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def _cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _outputs(printed: str, value: object) -> list[Output]:
    found: list[Output] = []
    if printed:
        found.append({"name": "stdout", "output_type": "stream", "text": printed.splitlines(keepends=True)})
    if value is not None:
        data: dict[str, Any] = {"text/plain": [repr(value)]}
        if hasattr(value, "savefig"):
            picture = io.BytesIO()
            value.savefig(picture, format="png", dpi=72)
            data["image/png"] = base64.b64encode(picture.getvalue()).decode() + "\n"
        found.append({"data": data, "metadata": {}, "output_type": "execute_result", "execution_count": None})
    return found


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    for each in sys.argv[1:]:
        write(each)
