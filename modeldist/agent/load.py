"""Measures what this node is doing, for its reports: network, disk, CPU over the time since the last look."""

from __future__ import annotations

from collections.abc import Callable

import psutil

from modeldist.scheduler.messages import Load

MEGABIT = 125_000  # bytes/s


class LoadMeter:
    """`measure()` is cheap (a few /proc files) and returns rates since the previous call."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: tuple[float, int, int, float] | None = None
        psutil.cpu_percent(interval=None)

    def measure(self, *, bytes_in_flight: int = 0, queue: int = 0) -> Load:
        """What cannot be looked at is unknown: reports go on where no descriptor is left to look with."""
        try:
            return self._measured(bytes_in_flight, queue)
        except OSError:
            return Load(bytes_in_flight=bytes_in_flight, queue=queue)

    def _measured(self, bytes_in_flight: int, queue: int) -> Load:
        now = self._clock()
        network = psutil.net_io_counters()
        disk = psutil.disk_io_counters()
        busy_ms = float(getattr(disk, "busy_time", 0)) if disk else 0.0
        received, sent = network.bytes_recv, network.bytes_sent
        last, self._last = self._last, (now, received, sent, busy_ms)
        cpu = psutil.cpu_percent(interval=None) / 100
        if last is None or now <= last[0]:
            return Load(bytes_in_flight=bytes_in_flight, queue=queue, cpu_busy=cpu, nic_speed=line_rate())
        seconds = now - last[0]
        return Load(
            nic_rx=max(0.0, (received - last[1]) / seconds),
            nic_tx=max(0.0, (sent - last[2]) / seconds),
            nic_speed=line_rate(),
            bytes_in_flight=bytes_in_flight,
            queue=queue,
            disk_busy=min(1.0, max(0.0, (busy_ms - last[3]) / 1000 / seconds)) if disk else None,
            cpu_busy=cpu,
        )


def line_rate() -> float | None:
    """The fastest interface that is up and says its speed, in bytes/s; None where none does (virtual links)."""
    speeds = [nic.speed for name, nic in psutil.net_if_stats().items() if nic.isup and nic.speed and name != "lo"]
    return max(speeds) * MEGABIT if speeds else None
