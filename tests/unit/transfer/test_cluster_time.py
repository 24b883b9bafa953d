"""Capabilities expire in a time that no wall clock moves: not the control plane's, not the nodes'."""

from __future__ import annotations

import pytest

from modeldist.artifact import Digest
from modeldist.transfer.capability import SKEW, CapabilityChecker, CapabilityIssuer
from modeldist.transfer.cluster_time import ClusterTime, LearnedTime, since_boot

SHARD = Digest("sha256:" + "a" * 64)
KEY = bytes(range(32))
NOW = 1_800_000_000.0
DAY = 86_400.0


class Machine:
    """Its wall clock may be anywhere; the time since it was started goes on."""

    def __init__(self, wall: float, up: float) -> None:
        self.wall = wall
        self.up = up

    def boot(self) -> float:
        return self.up

    def clock(self) -> float:
        return self.wall


class World:
    """A control plane, and a node that serves."""

    def __init__(self, control: float = NOW, node: float = NOW) -> None:
        self.control = Machine(control, up=7 * DAY)
        self.node = Machine(node, up=5.0)
        self.noted = 0.0
        self.learned = LearnedTime(self.node.boot, self.node.clock)
        self.begin()

    def begin(self) -> None:
        """The control plane starts, and the node has a session."""
        self.time = ClusterTime(self.control.wall, self.noted, self.control.boot)
        self.issuer = CapabilityIssuer(KEY, self.time)
        self.checker = CapabilityChecker(self.issuer.public_key, self.learned)
        self.greet()

    def greet(self) -> None:
        self.learned.learn(self.issuer.now())

    def passes(self, seconds: float) -> None:
        for machine in (self.control, self.node):
            machine.wall += seconds
            machine.up += seconds
        self.noted = self.time()

    def issue(self) -> bytes:
        return self.issuer.issue(SHARD, "child", DAY)

    def opens(self, token: bytes) -> bool:
        return self.checker(token, "child", SHARD)


@pytest.mark.parametrize("control", [NOW, NOW - 2 * DAY, NOW + 2 * DAY, 0.0])
@pytest.mark.parametrize("node", [NOW, NOW - 2 * DAY, NOW + 2 * DAY, 0.0])
def test_wall_clocks_need_not_agree(control: float, node: float) -> None:
    world = World(control, node)
    token = world.issue()
    assert world.opens(token)
    world.passes(DAY + SKEW - 1)
    assert world.opens(token)
    world.passes(2)
    assert not world.opens(token)


@pytest.mark.parametrize("days", [-2, 2])
@pytest.mark.parametrize("whose", ["control", "node"])
def test_a_clock_that_jumps_moves_nothing(whose: str, days: int) -> None:
    world = World()
    before = world.issue()
    getattr(world, whose).wall += days * DAY
    after = world.issue()
    assert world.opens(before) and world.opens(after)
    world.passes(DAY + SKEW + 1)
    assert not world.opens(before) and not world.opens(after), "a jump back brings nothing to life"


@pytest.mark.parametrize("days", [-2, -100])
def test_a_control_plane_that_starts_with_a_clock_behind_goes_on_where_it_was(days: int) -> None:
    world = World()
    old = world.issue()
    world.passes(DAY + SKEW + 1)
    assert not world.opens(old)
    world.control.wall += days * DAY
    world.begin()
    assert not world.opens(old), "what had expired stays so"
    new = world.issue()
    assert world.opens(new)
    world.passes(DAY + SKEW + 1)
    assert not world.opens(new)


def test_one_that_starts_with_a_clock_ahead_takes_nodes_along_as_they_come() -> None:
    world = World()
    before = world.issue()
    world.control.wall += 2 * DAY
    learned = world.learned
    world.begin()
    fresh = world.issue()
    assert world.opens(fresh) and not world.opens(before)
    behind = LearnedTime(world.node.boot, world.node.clock)  # a node that has not come yet
    behind.learn(NOW)
    assert CapabilityChecker(world.issuer.public_key, behind)(fresh, "child", SHARD)
    world.control.wall -= 2 * DAY
    world.passes(60)
    world.begin()
    assert world.opens(fresh) and world.opens(world.issue()), "nor does it matter that its clock is right again"
    assert learned() == pytest.approx(NOW + 2 * DAY + 60)


def test_of_a_release_that_does_not_tell_it_the_wall_clock_counts() -> None:
    world = World()
    world.learned.learn(None)
    token = CapabilityIssuer(KEY, lambda: NOW).issue(SHARD, "child", DAY)
    assert world.opens(token)
    world.node.wall += 2 * DAY
    assert not world.opens(token)


def test_the_clock_of_the_machine_goes_on() -> None:
    first = since_boot()
    assert first > 0
    assert since_boot() >= first


@pytest.mark.parametrize("told", [float("nan"), float("inf"), float("-inf")])
def test_a_time_that_is_no_number_keeps_nothing_good_for_ever(told: float) -> None:
    learned = LearnedTime(lambda: 5.0, lambda: NOW)
    learned.learn(told)
    assert learned() == NOW
