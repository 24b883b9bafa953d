"""The wheel has the console's files, so a control plane that was installed serves them without another step."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from modeldist.control.api.console import CONSOLE_PATHS, HOME

REPOSITORY = Path(__file__).parents[2]


def test_the_wheel_has_the_console(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(tmp_path), str(REPOSITORY)]
    subprocess.run(command, check=True, timeout=170)
    (wheel,) = tmp_path.glob("modeldist-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        there = set(opened.namelist())
    served = {path.removeprefix(HOME) or "index.html" for path in CONSOLE_PATHS - {"/console"}}
    assert {f"modeldist/control/console/{name}" for name in served} <= there
