"""Programs that fetch from an origin, each as a function from a place to a run. One that is missing is named."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modeldist.bench.bytecode import as_installed
from modeldist.bench.far_apart import far_apart
from modeldist.bench.nginx import REPOSITORY, Nginx
from modeldist.bench.programs import run_program
from modeldist.bench.runs import Run

Fetch = Callable[[Path], Run]
"""Fetch into this empty directory."""

_LARGE = 1 << 20  # bytes
_ARIA2C = ["aria2c", "-q", "-x16", "-s16", "--min-split-size=1M", "--file-allocation=falloc"]


@dataclass(frozen=True)
class Program:
    """`binary` must be installed; "" for this package itself."""

    name: str
    binary: str
    fetch: Fetch

    @property
    def installed(self) -> bool:
        return not self.binary or which(self.binary) is not None

    def into(self, directory: Path) -> Callable[[], Run]:
        """Runs of it, each into a fresh directory under `directory`.

        What is large there gives its space back afterwards; the small files stay until `directory` goes. A filesystem
        that has just removed a thousand inodes is slow to make the next ones, which would be the next run's.
        """
        far_apart(directory)

        def run() -> Run:
            place = Path(tempfile.mkdtemp(dir=directory))
            found = self.fetch(place)
            for path in place.rglob("*"):
                if path.is_file() and path.stat().st_size > _LARGE:
                    path.chmod(0o600)
                    os.truncate(path, 0)
            return found

        return run


def which(binary: str) -> str | None:
    """Beside this interpreter or on the path."""
    return shutil.which(binary, path=str(Path(sys.executable).parent)) or shutil.which(binary)


def curl(url: str) -> Program:
    return Program("curl", "curl", lambda place: run_program(["curl", "-sSf", "-o", str(place / "file"), url]))


def aria2c(url: str) -> Program:
    return Program("aria2c -x16", "aria2c", lambda place: run_program([*_ARIA2C, "-d", str(place), "-o", "file", url]))


def hf_download(nginx: Nginx) -> Program:
    def fetch(place: Path) -> Run:
        environment = {"HF_ENDPOINT": nginx.url, "HF_HOME": str(place), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return run_program([which("hf") or "hf", "download", REPOSITORY, "--quiet"], environment)

    return Program("hf download", "hf", fetch)


def modeldist(name: str, reference: str, **environment: str) -> Program:
    """`modeldist pull` as a person types it, without an agent."""
    as_installed()

    def fetch(place: Path) -> Run:
        command = [sys.executable, "-m", "modeldist", "pull", "-q", "--no-agent", "--store", str(place), reference]
        return run_program(command, environment)

    return Program(name, "", fetch)
