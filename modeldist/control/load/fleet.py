"""All synthetic agents: what each has at the start, and who asks for what next."""

from __future__ import annotations

import asyncio
import random

from websockets.uri import parse_uri

from modeldist.control.load.copy import Copy
from modeldist.control.load.ledger import Ledger
from modeldist.control.load.light_socket import LightSocket
from modeldist.control.load.plan import LoadPlan
from modeldist.control.load.synthetic_agent import SyntheticAgent
from modeldist.control.load.synthetic_task import SyntheticTask
from modeldist.errors import ControlPlaneUnreachable

COLD = 0.2  # share of pulls of a model that nobody has
ELSEWHERE = 0.2  # share of pulls of a model that another part of the cluster has
COLD_ORIGINS = 64  # each has its own budget of streams, so that leases are not waited for
COLD_SIZE = 2 << 20  # bytes, eight pieces
AT_ONCE = 16  # connections opened per turn of the loop
LAG_EVERY = 0.05  # seconds


class Fleet:
    """`url` is that of the session (ws://…); `token` an agent token."""

    def __init__(self, plan: LoadPlan, url: str, token: str) -> None:
        self._plan = plan
        self._uri = parse_uri(url)
        self._token = token
        self._rng = random.Random(plan.seed)
        self._loop = asyncio.get_running_loop()
        self.ledger = Ledger()
        self.tasks = [
            SyntheticTask(f"warm {number}", plan.shard_size, f"origin-{number}.example", warm=True)
            for number in range(plan.tasks)
        ]
        self._colds = 0
        self._joined = 0
        self._all_joined = asyncio.Event()
        self._awaited = 0
        self.agents = [self._agent(number) for number in range(plan.agents)]

    def _agent(self, number: int) -> SyntheticAgent:
        copies = [self._copy(self._home(number))]
        return SyntheticAgent(number, self._plan, copies, self.ledger, self._rng, self._on_joined)

    def _home(self, number: int) -> SyntheticTask:
        """The model of this part of the cluster: whole racks pull the same."""
        rack = number // self._plan.rack
        return self.tasks[rack % len(self.tasks)]

    def _copy(self, task: SyntheticTask) -> Copy:
        """A third complete, a third somewhere in between, a third new."""
        rng = self._rng
        match rng.randrange(3):
            case 0:
                return Copy(task, task.all)
            case 1:
                have = rng.getrandbits(task.layout.count)
                return Copy(task, have & rng.getrandbits(task.layout.count) if rng.random() < 0.5 else have)
            case _:
                return Copy(task)

    # --- connecting -------------------------------------------------------------------------------------------------

    async def connect(self, agents: list[SyntheticAgent], within: float) -> None:
        """All of them at the same moment; returns when all were welcomed. Raises ControlPlaneUnreachable."""
        self._joined, self._awaited = 0, len(agents)
        self._all_joined.clear()
        began = self._loop.time()
        opening: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(within):
                for agent in agents:
                    agent.connect_at = began
                    opening.append(asyncio.create_task(self._open(agent)))
                    if len(opening) % AT_ONCE == 0:
                        await asyncio.sleep(0)  # far faster than the server takes them, and others are heard meanwhile
                await asyncio.gather(*opening)
                await self._all_joined.wait()
        except (TimeoutError, OSError) as error:
            raise ControlPlaneUnreachable(
                f"{self._joined} of {len(agents)} agents joined within {within:.0f} seconds "
                f"({str(error) or 'no answer'}; lost: {dict(self.ledger.dropped) or 'none'})."
            ) from error

    async def _open(self, agent: SyntheticAgent) -> None:
        socket = agent.socket = LightSocket(self._uri, self._token, agent)
        await self._loop.create_connection(lambda: socket, self._uri.host, self._uri.port)

    def _on_joined(self) -> None:
        self._joined += 1
        if self._joined == self._awaited:
            self._all_joined.set()

    def close(self) -> None:
        for agent in self.agents:
            if agent.socket is not None:
                agent.socket.close()

    # --- asking -----------------------------------------------------------------------------------------------------

    async def keep_asking(self) -> None:
        """`plan.asks` pulls a second, at random moments, by random agents; until cancelled."""
        due = self._loop.time()
        while True:
            due += self._rng.expovariate(self._plan.asks)
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            self.ask_once()

    def ask_once(self) -> None:
        """Somebody who waits for no answer asks."""
        for _ in range(20):
            agent = self._rng.choice(self.agents)
            if agent.welcome is not None and agent.asking is None and agent.socket is not None and not agent.stopped:
                agent.ask(self._wanted(agent))
                return

    def _wanted(self, agent: SyntheticAgent) -> SyntheticTask:
        kind = self._rng.random()
        if kind < COLD:
            self._colds += 1
            origin = f"cold-{self._colds % COLD_ORIGINS}.example"
            return SyntheticTask(f"cold {self._colds}", COLD_SIZE, origin, warm=False)
        if kind < COLD + ELSEWHERE:
            return self._rng.choice(self.tasks)
        return self._home(agent.number)

    async def watch_lag(self) -> None:
        """How late this process's own loop is: below this, latencies say nothing about the server. Until cancelled."""
        while True:
            due = self._loop.time() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            self.ledger.lag[self.ledger.phase].append(self._loop.time() - due)
