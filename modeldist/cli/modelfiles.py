"""Modelfiles and Kitfiles as commands are given them: which of the two a file is, and what it means for a directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.agent.store.failures import naming
from modeldist.errors import NotFound

if TYPE_CHECKING:
    from modelpack.build import BuildPlan


def plan(given: Path, directory: Path, follow: tuple[Path, ...], without: tuple[Path, ...]) -> BuildPlan:
    """What `given` (looked for here, then in the directory) says. Raises NotFound, StorageError, InvalidModelfile."""
    from modelpack.modelfile import parse_modelfile, plan_kitfile, plan_modelfile

    path = next((path for path in (given, directory / given) if path.is_file()), None)
    if path is None:
        raise NotFound(
            f"There is no {given}, neither here nor in {directory}.",
            remedy=f"Write one, or have it written: `modeldist modelfile generate {directory}`.",
        )
    with naming("read", path):
        raw = path.read_bytes()
    left_out = (*without, path)
    if is_kitfile(path):
        return plan_kitfile(raw, directory, name=str(given), follow=follow, without=left_out)
    return plan_modelfile(parse_modelfile(raw, str(given)), directory, name=str(given), follow=follow, without=left_out)


def is_kitfile(path: Path) -> bool:
    """By its name: Kitfile, or anything that is YAML."""
    return path.name.lower().startswith("kitfile") or path.suffix.lower() in (".yaml", ".yml")
