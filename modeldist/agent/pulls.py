"""The pulls of a node: started by local callers and by the control plane, which hears how far they are."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from modeldist.agent.engine import Engine
from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.agent.pull import Approving, Pull
from modeldist.errors import ErrorInfo, ModeldistError
from modeldist.logger import Logger, about
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import CancelPull, PullProgress, StartPull
from modeldist.tracing import begin, current, shown, trace_id_of, within

log = Logger(__name__)

KEEP_FINISHED = 200  # pulls remembered for status and why
REPORT_EVERY = 0.5  # seconds between progress messages to the control plane
EXPLAIN_EVERY = 2.0  # while nothing changes but what is waited for
WORTH_EXPLAINING = 0.5  # seconds of a pull


class Pulls:
    """The pulls of one node: started by local callers and by the control plane."""

    def __init__(self, engine: Engine, canonical: Callable[[str], str], *, approving: Approving | None = None) -> None:
        self.approving = approving
        self._engine = engine
        self.canonical = canonical
        self._pulls: dict[str, Pull] = {}
        self._tasks: dict[str, asyncio.Future[Path]] = {}
        self._reports: set[asyncio.Task[None]] = set()
        self.ended: Callable[[Pull], None] = lambda _: None
        """Called with each pull that was started here, once it is over."""
        engine.inbox.start_pull = self._commanded
        engine.inbox.cancel_pull = self._cancel_commanded

    def start(
        self, reference: str, *, priority: Priority = Priority.PULL, pull: str | None = None, offline: bool = False
    ) -> Pull:
        """Begin a pull; await it with `wait`. Raises InvalidReference at once."""
        key = self.canonical(reference)

        def make(pull_id: str) -> Pull:
            return Pull(
                self._engine,
                reference,
                key=key,
                pull=pull_id,
                priority=priority,
                offline=offline,
                approving=self.approving,
            )

        return self.begin(make, pull)

    def begin(self, make: Callable[[str], Pull], pull: str | None = None) -> Pull:
        """As `start`, of a pull that `make` makes of its id."""
        pull_id = pull or uuid.uuid4().hex
        state = make(pull_id)
        self._pulls[pull_id] = state
        state.span = begin(
            "pull", current(), pull=pull_id, reference=shown(state.reference), node=self._engine.store.node_id
        )
        self._engine.shards.watch(pull_id, state.shard_done, state.span)
        named = about(pull=pull_id, reference=shown(state.reference), trace_id=trace_id_of(state.span.context))
        with within(state.span.context), named:
            task = asyncio.create_task(state.run(), name=f"pull {state.reference}")
            task.add_done_callback(lambda done: self._finished(state, done))
            log.info("pull started", priority=state.priority.name.lower())
        self._tasks[pull_id] = task
        self._forget_old()
        return state

    def show(self, pull: Pull, over: asyncio.Future[Path]) -> None:
        """Beside those that were started here, one that somebody else does, and that is not stopped here."""
        self._pulls.pop(pull.id, None)  # to be the newest again
        self._pulls[pull.id] = pull
        self._tasks[pull.id] = over
        self._forget_old()

    async def wait(self, pull: Pull) -> Path:
        """The snapshot directory, or the pull's error. Cancelling the waiter does not stop the pull."""
        return await asyncio.shield(self._tasks[pull.id])

    async def settled(self, pull: Pull, within: float) -> None:
        """Return when the pull has ended, or after `within` seconds."""
        await asyncio.wait([self._tasks[pull.id]], timeout=within)

    def get(self, pull_id: str) -> Pull | None:
        return self._pulls.get(pull_id)

    def find(self, text: str) -> Pull | None:
        """The newest pull with this id (or its beginning) or this reference."""
        for pull in reversed(self._pulls.values()):
            if (
                pull.id.startswith(text)
                or pull.reference == text
                or (pull.artifact and pull.artifact.reference == text)
            ):
                return pull
        return None

    def all(self) -> list[Pull]:
        return list(self._pulls.values())

    def running(self) -> list[Pull]:
        return [pull for pull in self._pulls.values() if pull.state not in FINAL]

    def cancel(self, pull_id: str) -> None:
        if task := self._tasks.get(pull_id):
            task.cancel()

    async def silence(self) -> None:
        """Tell the control plane nothing more of the pulls it started: they go on in the next process."""
        for report in self._reports:
            report.cancel()
        await asyncio.gather(*self._reports, return_exceptions=True)

    async def close(self) -> None:
        tasks = [task for task in self._tasks.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.silence()

    def _finished(self, pull: Pull, task: asyncio.Task[Path]) -> None:
        if not task.cancelled():
            task.exception()  # seen: nobody may be waiting
        now = pull.snapshot()
        told = {"bytes_origin": now.origin, "bytes_peers": now.peers, "bytes_local": now.local}
        pull.span.say(state=now.state, digest=now.digest, bytes=now.size, **told)
        if now.error is not None:
            pull.span.failed(now.error.code)
        pull.span.end()
        code = now.error.code if now.error else ""
        log.info("pull ended", state=now.state, seconds=round(now.seconds, 3), error=code, **told)
        self.ended(pull)

    def _forget_old(self) -> None:
        finished = [pull for pull in self._pulls.values() if pull.state in FINAL]
        for pull in finished[: max(0, len(finished) - KEEP_FINISHED)]:
            self._pulls.pop(pull.id, None)
            self._tasks.pop(pull.id, None)
            self._engine.shards.unwatch(pull.id)

    # --- started by the control plane ---

    def _commanded(self, message: StartPull) -> None:
        pull = self._pulls.get(message.pull)
        if pull is None:
            try:
                with within(message.trace):
                    pull = self.start(message.reference, priority=message.priority, pull=message.pull)
            except ModeldistError as error:
                self._engine.session.post(PullProgress(message.pull, "failed", error=error.info()))
                return
        report = asyncio.create_task(self._report(pull))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)

    def _cancel_commanded(self, message: CancelPull) -> None:
        self.cancel(message.pull)

    async def _report(self, pull: Pull) -> None:
        last: PullProgress | None = None
        posted = 0.0
        while True:
            progress, now = progress_message(pull.snapshot()), time.monotonic()
            if last is None or not progress.says_the_same(last) or now - posted >= EXPLAIN_EVERY:
                self._engine.session.post(progress)
                last, posted = progress, now
            if pull.state in FINAL:
                return
            await self.settled(pull, REPORT_EVERY)


def progress_message(now: PullSnapshot) -> PullProgress:
    """A pull's progress as the control plane hears it."""
    error: ErrorInfo | None = now.error
    return PullProgress(
        now.pull,
        now.state,
        bytes_total=now.size,
        bytes_origin=now.origin,
        bytes_peers=now.peers,
        bytes_local=now.local,
        path=now.path,
        error=error,
        seconds=round(now.seconds, 3),
        where=now.where if now.seconds >= WORTH_EXPLAINING else None,
    )
