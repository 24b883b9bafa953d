"""What a benchmark ran on, and how busy that was before it began."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

QUIET = 0.15  # of all cores; above it a benchmark says that its figures are doubtful, and the laboratory measures none


@dataclass(frozen=True)
class Machine:
    """`busy`: share of all cores that other processes used in the half second before, 0..1."""

    cores: int
    memory: int
    kernel: str
    processor: str
    load: tuple[float, float, float]
    busy: float

    def sentence(self) -> str:
        said = (
            f"{self.cores} cores ({self.processor}), {self.memory / 2**30:.0f} GiB, Linux {self.kernel}, "
            f"Python {platform.python_version()}; load {self.load[0]:.1f}, other processes used {self.busy:.0%} before"
        )
        return said if self.busy <= QUIET else said + ": NOT QUIET, figures are doubtful"


def look() -> Machine:
    """Takes half a second."""
    psutil.cpu_percent()
    time.sleep(0.5)
    return Machine(
        cores=os.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
        kernel=platform.release(),
        processor=_processor(),
        load=os.getloadavg(),
        busy=psutil.cpu_percent() / 100,
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
