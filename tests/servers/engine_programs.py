"""Programs that use an engine, in processes of their own, with what stands in for the engine on their path.

process = started("from vllm import …", cluster.environment(0))
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

STAND_INS = Path(__file__).parents[1] / "stand_ins"


def started(program: str, environment: Mapping[str, str], stand_ins: Path = STAND_INS) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**environment, "PYTHONPATH": str(stand_ins)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What it printed. AssertionError with its last words where it failed."""
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err[-3000:]
    return out


def failed(process: subprocess.Popen[str]) -> str:
    """The last words of one that must fail."""
    out, err = process.communicate(timeout=110)
    assert process.returncode != 0, out
    return err.strip().splitlines()[-1]
