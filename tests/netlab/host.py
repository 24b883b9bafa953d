"""The machine: what it is, what runs on it, and whether it is quiet enough to measure on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata

import psutil


def load_now(seconds: float = 1.0) -> float:
    """The share of all cores in use, measured for this long while we do nothing."""
    return psutil.cpu_percent(interval=seconds) / 100


def facts() -> dict[str, object]:
    """For the record of a measurement."""
    return {
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "modeldist": metadata.version("modeldist"),
        "revision": _revision(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load_average": os.getloadavg()[0],
    }


def _revision() -> str:
    """Of the checkout; "" where there is none."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, timeout=20
        )
    except OSError:
        return ""
    return done.stdout.strip()
