"""Phase 1 and several phase 2 under everything at once: joins, losses, refusals, lies, time, in any order."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modeldist.artifact import Digest
from modeldist.scheduler.phase1 import OriginLimits, Phase1Config
from modeldist.scheduler.phase2 import Phase2Config
from tests.unit.scheduler.scheduler_world import PIECE, Agent, World, digest

NAMES = ("a", "b", "c", "d", "e")
SIZES = (12 * PIECE, 5 * PIECE + 7, 30, 0)


class Swarm(RuleBasedStateMachine):
    world: World

    @initialize(seed=st.integers(0, 1 << 16), streams=st.integers(1, 6))
    def begin(self, seed: int, streams: int) -> None:
        limits = OriginLimits(streams=streams, target_streams=min(4, streams))
        config = Phase1Config(default_origin=limits, restart_grace=0.0, refresh=3.0)
        # One byte more than the in-flight window of a few pieces, so that the cap is met.
        self.world = World(SIZES, config, seed, Phase2Config(origin_streams=2, max_in_flight=6 * PIECE))

    def agent(self, data: st.DataObject) -> Agent:
        return self.world.agents[data.draw(st.sampled_from(sorted(self.world.agents)))]

    def some(self, data: st.DataObject, what: str) -> tuple[Agent, int] | None:
        found = sorted(name for name, agent in self.world.agents.items() if getattr(agent, what))
        if not found:
            return None
        agent = self.world.agents[data.draw(st.sampled_from(found))]
        return agent, data.draw(st.integers(0, len(getattr(agent, what)) - 1))

    @rule(
        name=st.sampled_from(NAMES),
        part=st.integers(0, (1 << 12) - 1),
        rack=st.sampled_from(("", "r", "s")),
        only=st.dictionaries(st.sampled_from((digest(0), digest(1))), st.integers(1, (1 << 6) - 1)),
    )
    def join(self, name: str, part: int, rack: str, only: dict[Digest, int]) -> None:
        if name not in self.world.agents:
            self.world.join(name, {digest(0): part}, rack, only)

    @precondition(lambda self: len(self.world.agents) > 1)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.world.leave(self.agent(data).name)

    @precondition(lambda self: self.world.agents)
    @rule(data=st.data(), times=st.integers(1, 8))
    def deliver(self, data: st.DataObject, times: int) -> None:
        for _ in range(times):
            if (found := self.some(data, "inbox")) is not None:
                self.world.deliver(found[0])

    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        if (found := self.some(data, "connecting")) is not None:
            self.world.connect(found[0])

    @rule(data=st.data(), outcome=st.sampled_from(("arrive", "arrive", "arrive", "corrupt", "refuse", "busy")))
    def answer(self, data: st.DataObject, outcome: str) -> None:
        if (found := self.some(data, "requests")) is not None:
            getattr(self.world, outcome)(*found)

    @rule(data=st.data())
    def lose_parent(self, data: st.DataObject) -> None:
        if (found := self.some(data, "connected")) is not None:
            self.world.lose(found[0], sorted(found[0].connected)[found[1]])

    @rule(data=st.data(), fails=st.booleans())
    def read(self, data: st.DataObject, fails: bool) -> None:
        if (found := self.some(data, "readings")) is not None:
            (self.world.fail_reading if fails else self.world.read)(*found)

    @rule(data=st.data(), task=st.sampled_from(range(len(SIZES))))
    def report(self, data: st.DataObject, task: int) -> None:
        if self.world.agents:
            self.world.report(self.agent(data), digest(task))

    @rule(seconds=st.sampled_from((0.05, 0.3, 2.0, 11.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.tick(seconds)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.finish()
            for agent in self.world.agents.values():
                assert sorted(agent.completed) == sorted(self.world.layouts)


TestSwarm = Swarm.TestCase
TestSwarm.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
