"""What the engine's parts share: the store, the loop, the shards being fetched, and the two ways to say something."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modeldist.agent.config import EngineConfig
from modeldist.agent.intake import Intake
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.store import Store
from modeldist.agent.wishes import Wishes
from modeldist.artifact import Digest
from modeldist.logger import Logger
from modeldist.scheduler.phase2.messages import Event, LeaseArrived
from modeldist.session.messages import FromAgent

if TYPE_CHECKING:
    from modeldist.agent.traces import Traces

log = Logger(__name__)


TOGETHER = 0.02  # seconds; a wake-up takes the interpreter from threads that move hundreds of MB/s


class Loop:
    """The engine's asyncio loop: background work on it, calls onto it from threads. `together` in seconds."""

    def __init__(self, together: float = TOGETHER) -> None:
        self._together = together
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: Context | None = None  # of no pull: what is called may be of another than who calls
        self._background: set[asyncio.Task[None]] = set()
        self._closing = False
        self.broken: set[str] = set()
        self._calls: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._woken = False  # for what is in `_calls`
        self._unhurried = False  # some of it
        self._looks_again: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()

    def future(self) -> asyncio.Future[None]:
        assert self._loop is not None
        return self._loop.create_future()

    def post(self, call: Callable[[], None], *, at_leisure: bool = False) -> None:
        """Run on the loop thread, from any thread, in order; dropped once the loop is gone. What comes `at_leisure`
        after another such call waits for more, `together` at most."""
        assert self._loop is not None
        with self._lock:
            self._calls.append(call)
            self._unhurried |= at_leisure
            if self._woken or (at_leisure and self._looks_again is not None):
                return  # the loop will find this one too
            self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._run_calls, context=self._context)
        except RuntimeError:
            if not self._closing:
                raise

    def _run_calls(self) -> None:
        assert self._loop is not None
        with self._lock:
            calls, self._calls = self._calls, deque()
            unhurried, self._unhurried, self._woken = self._unhurried, False, False
            if self._looks_again is not None:
                self._looks_again.cancel()
            self._looks_again = self._loop.call_later(self._together, self._run_calls) if unhurried else None
        for call in calls:
            try:
                call()
            except Exception:
                log.exception("a call on the engine's loop failed")

    def spawn(self, work: Coroutine[Any, Any, None], name: str, *, vital: bool = False) -> None:
        """Run beside everything else. A failure is logged, not lost; `vital`: without it the agent is none."""

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("background work failed", work=name)
            finally:
                if vital and not self._closing:
                    self.broken.add(name)

        task = asyncio.create_task(guarded(), name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        # Cancelled before it began, `guarded` never awaits its work, which the interpreter would complain about.
        task.add_done_callback(lambda _: work.close())

    async def close(self) -> None:
        self._closing = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)


@dataclass(eq=False)
class Node:
    """`apply` hands an event to phase 2; `tell` posts a message to the control plane (dropped without a session).
    `leases` are those on a shard that phase 2 holds, `wishes` those of who reads shards while they come."""

    store: Store
    config: EngineConfig
    loop: Loop
    apply: Callable[[Event], None]
    tell: Callable[[FromAgent], None]
    leases: Callable[[Digest], Iterable[LeaseArrived]]
    fetches: dict[Digest, ShardFetch] = field(default_factory=dict)
    intake: Intake = field(default_factory=Intake)
    traces: Traces | None = None  # where traces are recorded
    wishes: Wishes = field(init=False)

    def __post_init__(self) -> None:
        self.wishes = Wishes(self.fetches, self.apply)

    def live(self, task: Digest) -> ShardFetch | None:
        """A shard that phase 2 is working on."""
        fetch = self.fetches.get(task)
        return fetch if fetch and fetch.joined and not fetch.ended else None
