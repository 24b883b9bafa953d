"""Commands that must start fast do not wait for libraries they do not use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = frozenset(
    (
        "asyncio",
        "cryptography",
        "fastapi",
        "httpx2",
        "huggingface_hub",
        "pydantic",
        "rich",
        "sqlalchemy",
        "structlog",
    )
)


def imports(tmp_path: Path, *arguments: str) -> set[str]:
    """Top-level packages that `modeldist` with these arguments imports."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    store = {"MODELDIST_STORE": str(tmp_path / "store"), "MODELDIST_SOCKET": str(tmp_path / "none.sock")}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "modeldist", *arguments],
        env={**environment, **store},
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["ls"], ["pull", "--help"]], ids=" ".join)
def test_what_is_quick_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    found = imports(tmp_path, *arguments)
    assert "click" in found
    assert not found & HEAVY


def test_a_model_that_is_here_is_found_without_an_engine(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    reference = f"file://{model}"
    first = imports(tmp_path, "pull", reference)
    assert "structlog" in first  # the engine, which does the work once
    assert not imports(tmp_path, "pull", reference) & (HEAVY - {"asyncio"})
