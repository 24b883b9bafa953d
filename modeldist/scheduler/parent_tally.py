"""How a parent serves, as its child counts it for the next report."""

from __future__ import annotations

from dataclasses import dataclass

from modeldist.scheduler.messages import ParentReport


@dataclass
class ParentTally:
    """What a parent did for one shard since the last report. Its seconds are those in which a request was out to it."""

    bytes: int = 0
    seconds: float = 0.0
    failures: int = 0
    busy: int = 0
    outstanding: int = 0
    since: float = 0.0  # when the first of the outstanding requests went out

    def began(self, now: float) -> None:
        if not self.outstanding:
            self.since = now
        self.outstanding += 1

    def finished(self, now: float) -> None:
        self.outstanding -= 1
        if not self.outstanding:
            self.seconds += now - self.since

    def drain(self, node: str, now: float) -> ParentReport:
        """What happened since the last time; requests still out count up to now."""
        if self.outstanding:
            self.seconds += now - self.since
            self.since = now
        report = ParentReport(node, self.bytes, self.seconds, self.failures, self.busy)
        self.bytes = self.failures = self.busy = 0
        self.seconds = 0.0
        return report
