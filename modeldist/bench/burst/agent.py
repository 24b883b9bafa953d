"""One node of the burst, as `modeldist agent` would speak: it resolves, joins the shard's task, gets it from the origin
or from whoever has it (which takes a while), and says so. What it is refused for want of room it asks again."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from modeldist import __version__
from modeldist.artifact import Digest
from modeldist.control.load.light_socket import LightSocket
from modeldist.errors import ErrorInfo, Overloaded
from modeldist.scheduler.messages import (
    JoinTasks,
    LeaseGranted,
    LeaseRequest,
    Location,
    Parents,
    PieceDigest,
    Priority,
    Report,
    TaskJoin,
    TaskJoined,
    TaskRefused,
    TaskReport,
)
from modeldist.session.asking_again import AskingAgain
from modeldist.session.messages import (
    PROTOCOL,
    CancelPull,
    FromAgent,
    Hello,
    PullProgress,
    Refused,
    Resolve,
    Resolved,
    ResolveFailed,
    StartPull,
    Welcome,
    decode_from_control,
    encode,
)


@dataclass(slots=True)
class Seen:
    """What all nodes saw. `refused`: by the code of the refusal and what was asked; each was asked again."""

    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    joined: int = 0


@dataclass(slots=True)
class _Job:
    """One model on its way here. `pull`: of the control plane; empty: this node's own."""

    pull: str
    reference: str
    priority: Priority
    again: AskingAgain
    done: asyncio.Future[bool]
    task: Digest | None = None
    size: int = 0
    coming: bool = False


class BurstAgent:
    """A `light_socket.Listener`. Its models are files of one piece."""

    def __init__(self, number: int, seconds: float, patience: float, seen: Seen, rng: random.Random) -> None:
        self.node = f"burst-{number:05}"
        self.socket: LightSocket | None = None
        self.welcomed = asyncio.get_running_loop().create_future()
        self._seconds = seconds
        self._patience = patience
        self._seen = seen
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._requests: dict[int, _Job] = {}
        self._asked = 0
        self._jobs: dict[Digest, list[_Job]] = {}
        self._have: set[Digest] = set()
        self._seq = 0

    def pull(self, reference: str, priority: Priority = Priority.PULL, pull: str = "") -> asyncio.Future[bool]:
        """Whether the model is here, in the end."""
        again = AskingAgain(self._patience, self._loop.time())
        job = _Job(pull, reference, priority, again, self._loop.create_future())
        self._tell(job, "resolving")
        self._resolve(job)
        return job.done

    # --- the session ------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        self._send(Hello(PROTOCOL, self.node, self.node, __version__, "10.0.0.1:7421", Location()))

    def lost(self, reason: str) -> None:
        self.socket = None
        self._seen.failed[f"a session ended: {reason}"] += 1
        if not self.welcomed.done():
            self.welcomed.set_result(False)
        jobs = [*self._requests.values(), *(job for jobs in self._jobs.values() for job in jobs)]
        for job in jobs:
            self._end(job, well=False)

    def received(self, frame: bytes) -> None:
        match decode_from_control(frame):
            case Welcome():
                self._seen.joined += 1
                self._report()
                self.welcomed.set_result(True)
            case Refused(error):
                self._seen.failed[error.message] += 1
            case StartPull(pull, reference, priority):
                self.pull(reference, priority, pull)
            case CancelPull(pull):
                self._seen.failed[f"cancelled: {pull}"] += 1
            case Resolved(request, artifact) if (job := self._requests.pop(request, None)) and artifact:
                file = artifact.files[0]
                job.task, job.size = Digest(file.digest), file.size
                self._wants(job, job.task)
            case ResolveFailed(request, error) if job := self._requests.pop(request, None):
                self._ask_again(job, error, "resolve", lambda job=job: self._resolve(job))  # type: ignore[misc]
            case TaskJoined(task):
                self._send(LeaseRequest(task, 1))
            case TaskRefused(task, _, wait) if wait is not None:
                error = ErrorInfo(Overloaded.code, f"no room for {task}", retry_after=wait)
                for job in self._jobs.get(task, ()):
                    self._ask_again(job, error, "join", lambda job=job: self._join(job))  # type: ignore[misc]
            case LeaseGranted(task, lease):
                self._comes(task, lease)
            case Parents(task, parents) if parents:
                self._comes(task, None)

    def _send(self, message: FromAgent) -> None:
        if self.socket is not None:
            self.socket.send(encode(message))

    # --- one model --------------------------------------------------------------------------------------------------

    def _resolve(self, job: _Job) -> None:
        self._asked += 1
        self._requests[self._asked] = job
        self._send(Resolve(self._asked, job.reference, None, job.priority))

    def _wants(self, job: _Job, task: Digest) -> None:
        if task in self._have:
            self._end(job, well=True)
            return
        self._jobs.setdefault(task, []).append(job)
        self._join(job)

    def _join(self, job: _Job) -> None:
        assert job.task is not None
        self._send(JoinTasks((TaskJoin(job.task, job.size, "burst"),), job.priority))

    def _ask_again(self, job: _Job, error: ErrorInfo, what: str, ask: Callable[[], None]) -> None:
        pause = job.again.pause(error.as_error(), self._loop.time(), self._rng.random())
        if pause is None:
            self._seen.failed[f"{what}: {error.message}"] += 1
            self._end(job, well=False)
            return
        self._seen.refused[f"{what}: {error.code}"] += 1
        self._loop.call_later(pause, ask)

    def _comes(self, task: Digest, lease: int | None) -> None:
        """From the origin or from a parent; it takes its time."""
        for job in self._jobs.get(task, ()):
            if not job.coming:
                job.coming = True
                self._tell(job, "pulling")
        if self._jobs.get(task):
            self._loop.call_later(self._seconds, self._came, task, lease)

    def _came(self, task: Digest, lease: int | None) -> None:
        jobs = self._jobs.pop(task, None)
        if jobs is None:
            return
        self._have.add(task)
        digest = PieceDigest(0, hashlib.blake2s(task.encode()).digest())
        read = {lease: jobs[0].size} if lease is not None else {}
        self._report(TaskReport(task, b"\x01", (digest,) if read else (), read))
        for job in jobs:
            self._end(job, well=True)

    def _report(self, *tasks: TaskReport) -> None:
        self._seq += 1
        self._send(Report(self._seq, tasks=tasks))

    def _end(self, job: _Job, *, well: bool) -> None:
        if not job.done.done():
            job.done.set_result(well)
            self._tell(job, "done" if well else "failed")

    def _tell(self, job: _Job, state: str) -> None:
        if job.pull:
            size = job.size if state == "done" else 0
            self._send(PullProgress(job.pull, state, size, size, path="/models/burst" if size else ""))
