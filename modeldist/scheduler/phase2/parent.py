"""One parent as its child sees it: the connection, what is outstanding there, and how fast it serves."""

from __future__ import annotations

from dataclasses import dataclass, field

from modeldist.artifact import Digest
from modeldist.scheduler.phase2.config import Phase2Config

_SAMPLE_SECONDS = 0.05  # shorter spans measure the event loop, not the parent
_GAIN = 0.3
_CRAWL = 250e3  # bytes/s; an unmeasured parent slower than this has stalled
_CLASSES = 3


@dataclass(slots=True)
class Request:
    """A piece asked of a parent. `expected` is the duration in seconds that was reckoned with when it was sent.
    `spare`: the parent brings no stripe of a striped task."""

    task: Digest
    piece: int
    node: str
    size: int
    sent: float
    expected: float
    spare: bool = False


@dataclass(slots=True)
class ParentLink:
    """`ready` holds, per priority class, the tasks that may have a piece to fetch here (checked again on use)."""

    node: str
    address: str
    config: Phase2Config
    connected: bool = False
    connecting: bool = False
    tasks: dict[Digest, None] = field(default_factory=dict)
    ready: tuple[dict[Digest, None], ...] = field(default_factory=lambda: tuple({} for _ in range(_CLASSES)))
    requests: dict[tuple[Digest, int], Request] = field(default_factory=dict)
    outstanding: int = 0
    goodput: float | None = None
    not_before: float = 0.0
    failures: int = 0
    unused_since: float = 0.0
    progressed: float = 0.0
    _mark: float = 0.0
    _busy_seconds: float = 0.0
    _busy_bytes: int = 0

    def expected(self, size: int, guess: float) -> float:
        """Seconds until `size` more bytes would have come; `guess` in bytes/s stands in for an unknown goodput."""
        return (self.outstanding + size) / (self.goodput or guess)

    def slow(self, usual: float) -> bool:
        """Beside `usual`, the goodput of parents in general."""
        return self.goodput is not None and self.goodput < usual / 2

    def has_room(self, size: int, usual: float) -> bool:
        """Whether one more request of `size` keeps to this parent's window.

        At least two, so that the parent has the next piece to send when one ends; but one where it is not measured yet,
        or slow: what waits in its queue could come sooner from a child it has served meanwhile.
        """
        if self.goodput is None:
            return not self.requests
        limit = min(self.goodput * self.config.window, self.config.max_in_flight_per_parent)
        return self.outstanding + size <= max(limit, size if self.slow(usual) else 2 * size)

    def send(self, request: Request) -> None:
        if not self.requests:
            self._mark = self.progressed = request.sent
        self.requests[request.task, request.piece] = request
        self.outstanding += request.size

    def drop(self, task: Digest, piece: int) -> Request | None:
        """The request is answered, lost or written off."""
        request = self.requests.pop((task, piece), None)
        if request is not None:
            self.outstanding -= request.size
        return request

    def received(self, request: Request, now: float) -> None:
        """A piece came whole (`request` is dropped already). Answers are in order, so time between two counts."""
        self.failures = 0
        self.progressed = now
        self._busy_seconds += now - self._mark
        self._busy_bytes += request.size
        self._mark = now
        if self._busy_seconds < _SAMPLE_SECONDS and self.goodput is not None:
            return
        sample = self._busy_bytes / max(self._busy_seconds, 1e-6)
        self.goodput = sample if self.goodput is None else self.goodput + _GAIN * (sample - self.goodput)
        self._busy_seconds, self._busy_bytes = 0.0, 0

    def failed(self, now: float) -> None:
        """Leave it alone for a while, longer each time."""
        pause = min(self.config.cooldown * 2.0**self.failures, self.config.cooldown_max)
        self.failures = min(self.failures + 1, 16)
        self.not_before = max(self.not_before, now + pause)

    def busy(self, now: float, retry_after: float) -> None:
        self.not_before = max(self.not_before, now + min(max(retry_after, 0.0), self.config.busy_max))

    def stalled(self, now: float) -> bool:
        """Requests are outstanding and no piece came for far longer than one takes."""
        if not self.requests:
            return False
        piece = next(iter(self.requests.values())).size
        expected = self.config.stall_factor * piece / self.goodput if self.goodput else piece / _CRAWL
        patience = max(self.config.stall, expected)
        return now - self.progressed > patience

    def forget(self, task: Digest) -> None:
        self.tasks.pop(task, None)
        for ready in self.ready:
            ready.pop(task, None)
