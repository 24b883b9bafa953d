"""What processes used: CPU seconds and peak memory, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu` in seconds of all processes together, `peak` in bytes of the largest."""

    cpu: float = 0.0
    peak: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, max(self.peak, other.peak))

    def since(self, before: Cost) -> Cost:
        return Cost(self.cpu - before.cpu, self.peak)


def cost_of(pid: int) -> Cost:
    """A live process and its ended children. Zero for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return Cost()
    peak = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)
    return Cost(sum(map(int, fields[11:15])) / _TICKS, peak)


def total(pids: Iterable[int]) -> Cost:
    return sum((cost_of(pid) for pid in pids), Cost())


def forget_peaks(pids: Iterable[int]) -> None:
    """From now on the peak is that of what comes."""
    for pid in pids:
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")
