"""The wheel and the sdist, built twice from two directories."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EPOCH = "1735689600"  # any day will do


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path


def checkout() -> list[str]:
    """What a commit of this checkout would have."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def lay_out(folder: Path) -> None:
    """A copy of the checkout."""
    for name in checkout():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)


def build(folder: Path, out: Path) -> Built:
    """From a copy of the checkout in `folder`, with the tools and dependencies of this environment."""
    lay_out(folder)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(folder)],
        cwd=folder.parent,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("one")
    return build(folder / "modeldist", folder / "dist")


@pytest.fixture(scope="session")
def built_again(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("another") / "and a longer name"
    return build(folder / "checkout", folder / "dist")


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of somebody who has no checkout: a home of their own, and the system's programs."""
    home = tmp_path_factory.mktemp("home")
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "http", "HTTP", "no_"))
    }
    return kept | {
        "HOME": str(home),
        "PATH": os.pathsep.join((str(Path(sys.base_prefix) / "bin"), "/usr/local/bin", "/usr/bin", "/bin")),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
