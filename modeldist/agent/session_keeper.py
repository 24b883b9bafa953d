"""Keeps one session with the control plane open: reconnects with back-off, sends in order, matches answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count

from modeldist.artifact import Digest
from modeldist.errors import ControlPlaneError, ControlPlaneUnreachable, ModeldistError, Overloaded
from modeldist.logger import Logger
from modeldist.scheduler.messages import Priority
from modeldist.session.asking_again import SPREAD, AskingAgain
from modeldist.session.link import ControlLink, Session
from modeldist.session.messages import FromAgent, FromControl, Hello, Resolve, Resolved, ResolveFailed, Welcome
from modeldist.tracing import current

log = Logger(__name__)

FIRST_RETRY = (
    0.25  # seconds; doubles up to LAST_RETRY, each time with full jitter so that a fleet does not return at once
)
LAST_RETRY = 15.0
RESTARTING = 10.0  # seconds after a session broke for which the control plane may be expected to come back
BUSY_RETRY = 2.0  # the longest pause then, and while shards are fetched: nobody else is told what this node reads
LONGEST_ASKED = 60.0  # seconds that a control plane without room may have an agent wait before it tries again


class SessionKeeper:
    """`run()` until cancelled. Messages posted while there is no session are dropped: whoever needs them re-states
    everything in `on_open`. `busy()`: the session is urgently missed. `patience`: seconds for which a
    control plane without room is asked again."""

    def __init__(
        self,
        link: ControlLink,
        hello: Callable[[], Hello],
        on_open: Callable[[Welcome], Awaitable[None]],
        on_message: Callable[[FromControl], None],
        rng: random.Random,
        busy: Callable[[], bool],
        patience: float,
    ) -> None:
        self._link = link
        self._hello = hello
        self._on_open = on_open
        self._on_message = on_message
        self._rng = rng
        self._busy = busy
        self._patience = patience
        self._outbox: asyncio.Queue[FromAgent] | None = None
        self._open = asyncio.Event()
        self._failed = asyncio.Event()
        self._wake = asyncio.Event()
        self._error: ControlPlaneError | None = None
        self._broke_at: float | None = None  # when the last session ended, by the loop's clock
        self._running: asyncio.Task[None] | None = None
        self._requests = count(1)
        self._answers: dict[int, asyncio.Future[Resolved]] = {}

    @property
    def connected(self) -> bool:
        return self._open.is_set()

    @property
    def last_error(self) -> ControlPlaneError | None:
        return self._error

    def post(self, message: FromAgent) -> None:
        if self._outbox is not None:
            self._outbox.put_nowait(message)

    async def said(self, within: float) -> None:
        """Return when all that was posted is on its way, or after `within` seconds."""
        if (outbox := self._outbox) is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(outbox.join(), within)

    async def resolve(
        self,
        reference: str,
        known: Digest | None,
        *,
        patience: float = 10.0,
        persist: bool = True,
        priority: Priority = Priority.PULL,
        insist: float | None = None,
    ) -> Resolved:
        """Ask the control plane. Without a session this makes one attempt at once instead of waiting for the back-off,
        and raises what that attempt met (or after `patience` seconds). With `persist`, a control plane that was there a
        moment ago is taken to be restarting: it is tried, and asked, again for some seconds. One without room is asked
        again for `insist` seconds (None: as long as this node has patience)."""
        loop = asyncio.get_running_loop()
        again = AskingAgain(self._patience if insist is None else insist, loop.time())
        while True:
            try:
                await self._wait_open(patience)
                return await self._ask(reference, known, priority)
            except Overloaded as error:
                pause = again.pause(error, loop.time(), self._rng.random())
                if pause is None:
                    raise
                await asyncio.sleep(pause)
                continue
            except ControlPlaneUnreachable:
                broke_at = self._broke_at
                if not persist or broke_at is None or loop.time() - broke_at > RESTARTING:
                    raise
            await asyncio.sleep(FIRST_RETRY)

    async def _ask(self, reference: str, known: Digest | None, priority: Priority) -> Resolved:
        request = next(self._requests)
        answer: asyncio.Future[Resolved] = asyncio.get_running_loop().create_future()
        self._answers[request] = answer
        self.post(Resolve(request, reference, known, priority, current()))
        try:
            return await answer
        finally:
            self._answers.pop(request, None)

    async def _wait_open(self, patience: float) -> None:
        if self._open.is_set():
            return
        self._failed.clear()
        self._wake.set()
        waits = [asyncio.create_task(self._open.wait()), asyncio.create_task(self._failed.wait())]
        try:
            await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if not self._open.is_set():
            raise self._error or ControlPlaneUnreachable("The control plane did not answer in time.")

    async def close(self) -> None:
        """Say goodbye, and open no session any more."""
        if (running := self._running) is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        self._closed(ControlPlaneUnreachable("This agent is leaving."))

    async def run(self) -> None:
        self._running = asyncio.current_task()
        delay = FIRST_RETRY
        while True:
            try:
                async with self._link.open(self._hello()) as session:
                    delay = FIRST_RETRY
                    await self._serve(session)
                error: ControlPlaneError = ControlPlaneUnreachable("The session with the control plane ended.")
            except ControlPlaneError as caught:
                error = caught
            self._closed(error)
            delay = min(delay, BUSY_RETRY if self._busy() or self._just_broke() else LAST_RETRY)
            log.warning("no session", error=str(error), retry_in=round(delay, 2))
            own = self._rng.uniform(delay / 2, delay)
            await self._pause(max(own, _asked_for(error) * self._rng.uniform(1.0, 1.0 + SPREAD)))
            delay *= 2

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _serve(self, session: Session) -> None:
        outbox: asyncio.Queue[FromAgent] = asyncio.Queue()
        self._outbox = outbox
        sender = asyncio.create_task(_send_all(session, outbox))
        try:
            await self._on_open(session.welcome)
            self._failed.clear()
            self._open.set()
            async for message in session.receive():
                self._dispatch(message)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    def _dispatch(self, message: FromControl) -> None:
        if isinstance(message, Resolved):
            self._answer(message.request, message)
        elif isinstance(message, ResolveFailed):
            self._answer(message.request, message.error.as_error())
        else:
            self._on_message(message)

    def _answer(self, request: int, answer: Resolved | ModeldistError) -> None:
        future = self._answers.get(request)
        if future is None or future.done():
            return
        if isinstance(answer, ModeldistError):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _just_broke(self) -> bool:
        """Another control plane may take over in these moments, and waits for those who were here."""
        return self._broke_at is not None and asyncio.get_running_loop().time() - self._broke_at < RESTARTING

    def _closed(self, error: ControlPlaneError) -> None:
        if self._open.is_set():
            self._broke_at = asyncio.get_running_loop().time()
        self._open.clear()
        self._outbox = None
        self._error = error
        self._failed.set()
        for future in self._answers.values():
            if not future.done():
                future.set_exception(error)


def _asked_for(error: ControlPlaneError) -> float:
    """Seconds after which a control plane without room wants to be asked again."""
    return min(error.retry_after or 0.0, LONGEST_ASKED) if isinstance(error, Overloaded) else 0.0


async def _send_all(session: Session, outbox: asyncio.Queue[FromAgent]) -> None:
    try:
        while True:
            await session.send(await outbox.get())
            outbox.task_done()
    except ControlPlaneError:
        return  # the receiving side sees the end of the session too
