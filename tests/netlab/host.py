"""The machine: what it is, what runs on it, and whether it is quiet enough to measure on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

BUSY = 0.15
"""Share of all cores used by others above which a measurement is refused."""


def cpu_times() -> tuple[float, float]:
    """(busy, all) seconds of all cores since the machine started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    ticks = os.sysconf("SC_CLK_TCK")
    return (sum(fields) - idle) / ticks, sum(fields) / ticks


def busy_share(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Of all cores, between two readings of `cpu_times`."""
    spent = after[1] - before[1]
    return (after[0] - before[0]) / spent if spent else 0.0


def load_now(seconds: float = 1.0) -> float:
    """The share of all cores in use, measured for this long while we do nothing."""
    before = cpu_times()
    time.sleep(seconds)
    return busy_share(before, cpu_times())


def facts() -> dict[str, object]:
    """For the record of a measurement."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "cores": os.cpu_count(),
        "memory_bytes": int(memory.split()[1]) * 1024,
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "modeldist": metadata.version("modeldist"),
        "revision": _first_line("git", "rev-parse", "--short", "HEAD"),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load_average": os.getloadavg()[0],
    }


def _first_line(*command: str) -> str:
    """Of a command's output; "" where it cannot be had."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except OSError:
        return ""
    return (done.stdout.splitlines() or [""])[0].strip()


def version_line(*command: str) -> str:
    return _first_line(*command)
