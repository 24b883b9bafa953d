"""A rollout by itself: who is told when, and what follows from what they say."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeldist.control.rollouts.rollout import CONTROL_PLANE, Back, Forward, Instruction, Plan, Rollout
from modeldist.errors import ErrorInfo

NOW = 1_800_000_000.0
OLD, NEW = "0.1.0", "0.2.0"


@dataclass
class Fleet:
    """A rollout, and what its nodes were told and did not do yet."""

    rollout: Rollout
    now: float = NOW
    told: list[Instruction] = field(default_factory=list)

    @classmethod
    def of(cls, count: int, **plan: object) -> Fleet:
        nodes = [f"node-{index:02}" for index in range(count)]
        fleet = cls(Rollout.new("r", Plan("ref", **plan), nodes, NOW))  # type: ignore[arg-type]
        for node in nodes:
            fleet.does(fleet.rollout.came(node, OLD, updates=True, now=NOW))
        return fleet

    def does(self, told: list[Instruction]) -> None:
        self.told += told

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.does(self.rollout.look(self.now))

    def said(self, node: str, step: str, error: ErrorInfo | None = None) -> None:
        version = NEW if step in ("up", "kept") else OLD
        self.does(self.rollout.said(node, step, version, error, self.now))

    def goes_well(self, node: str) -> None:
        for step in ("fetching", "installing", "draining", "restarting", "up"):
            self.said(node, step)

    def take(self) -> list[Instruction]:
        told, self.told = self.told, []
        return told

    def states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for one in self.rollout.nodes.values():
            found[one.state] = found.get(one.state, 0) + 1
        return found


def test_the_canary_first_then_wave_by_wave() -> None:
    fleet = Fleet.of(10, waves=(50, 100), most_away=3)
    assert fleet.take() == [Forward("node-00")]
    fleet.goes_well("node-00")
    fleet.passes(30)
    assert fleet.take() == [], "it has to be well for a while"
    fleet.passes(31)
    assert fleet.take() == [Forward("node-01"), Forward("node-02"), Forward("node-03")]
    fleet.goes_well("node-02")
    assert fleet.take() == [Forward("node-04")], "one came up, one may go"
    for node in ("node-01", "node-03", "node-04"):
        fleet.goes_well(node)
    assert fleet.take() == [], "half of them, and no more"
    fleet.passes(61)
    assert fleet.take() == [Forward(f"node-0{index}") for index in (5, 6, 7)]
    for node in range(5, 10):
        fleet.goes_well(f"node-0{node}")
    fleet.passes(61)
    assert (fleet.rollout.state, fleet.states()) == ("done", {"done": 10})
    assert fleet.rollout.version == NEW


def test_a_canary_that_goes_back_ends_it_and_nobody_else_is_told() -> None:
    fleet = Fleet.of(4)
    fleet.take()
    fleet.said("node-00", "restarting")
    fleet.said("node-00", "gone_back", ErrorInfo("agent", "0.2.0 was given up: it crashed."))
    assert fleet.take() == []
    assert (fleet.rollout.state, fleet.states()) == ("failed", {"failed": 1, "waiting": 3})
    assert "it crashed" in fleet.rollout.reason


@pytest.mark.parametrize(("step", "seconds"), [("", 901), ("installing", 901), ("draining", 91), ("restarting", 241)])
def test_a_node_that_does_not_come_back(step: str, seconds: float) -> None:
    fleet = Fleet.of(4)
    if step:
        fleet.said("node-00", step)
    fleet.rollout.went("node-00")
    fleet.take()
    fleet.passes(seconds)
    assert fleet.rollout.state == "failed"
    assert fleet.take() == [Back("node-00")], "should it be there after all"
    assert "did not come back" in fleet.rollout.reason


def test_a_wave_that_fails_takes_all_back_the_control_plane_last() -> None:
    fleet = Fleet.of(4, waves=(100,), most_away=4, control_plane=True)
    assert fleet.take() == [Forward(CONTROL_PLANE)]
    fleet.goes_well(CONTROL_PLANE)
    fleet.passes(61)
    assert fleet.take() == [Forward("node-00")]
    fleet.goes_well("node-00")
    fleet.passes(61)
    fleet.take()
    fleet.goes_well("node-01")
    fleet.said("node-02", "gone_back", ErrorInfo("agent", "x"))
    assert fleet.take() == [Back("node-00"), Back("node-01"), Back("node-03")]
    for node in ("node-00", "node-01", "node-03"):
        assert fleet.rollout.state == "going_back"
        fleet.said(node, "gone_back")
    assert fleet.take() == [Back(CONTROL_PLANE)]
    fleet.said(CONTROL_PLANE, "gone_back")
    assert fleet.rollout.state == "failed"


def test_pulls_that_fail_on_new_versions_alone_count() -> None:
    fleet = Fleet.of(3)
    fleet.take()
    fleet.goes_well("node-00")
    fleet.does(fleet.rollout.pulled("node-01", fleet.now, well=False))
    fleet.does(fleet.rollout.pulled("node-00", fleet.now, well=False))
    assert fleet.rollout.state == "running", "it fails elsewhere, too"
    fleet.does(fleet.rollout.pulled("node-01", fleet.now, well=True))
    fleet.passes(1)
    assert fleet.take() == [Back("node-00")]
    assert "1 of 1 pulls" in fleet.rollout.reason


def test_some_may_fail_where_that_is_tolerated() -> None:
    fleet = Fleet.of(4, waves=(100,), most_away=4, tolerate=1)
    fleet.goes_well("node-00")
    fleet.passes(61)
    fleet.said("node-01", "failed", ErrorInfo("storage", "its disk is full"))
    assert fleet.rollout.state == "running"
    fleet.said("node-02", "failed", ErrorInfo("storage", "its disk is full"))
    assert fleet.rollout.state == "going_back"


def test_who_cannot_is_left_out_with_the_reason_and_the_next_is_the_canary() -> None:
    fleet = Fleet.of(3)
    fleet.take()
    fleet.said("node-00", "refused", ErrorInfo("unsupported", "Kubernetes updates it."))
    assert fleet.take() == [Forward("node-01")]
    old = Rollout.new("r", Plan("ref"), ["a", "b"], NOW)
    assert old.came("a", "0.0.9", updates=False, now=NOW) == []
    assert (old.nodes["a"].state, old.nodes["a"].error) == (
        "refused",
        ErrorInfo("unsupported", "It runs 0.0.9, which cannot update itself."),
    )
    assert old.came("b", OLD, updates=True, now=NOW) == [Forward("b")]


def test_an_abort_takes_back_who_was_told() -> None:
    fleet = Fleet.of(3)
    fleet.take()
    fleet.goes_well("node-00")
    fleet.does(fleet.rollout.abort(fleet.now))
    assert fleet.take() == [Back("node-00")]
    assert fleet.rollout.came("node-00", NEW, updates=True, now=fleet.now) == [Back("node-00")], "it did not hear"
    fleet.said("node-00", "gone_back")
    assert (fleet.rollout.state, fleet.states()) == ("aborted", {"gone_back": 1, "waiting": 2})


def test_it_goes_on_from_what_was_written() -> None:
    fleet = Fleet.of(3)
    fleet.goes_well("node-00")
    again = msgspec.json.decode(msgspec.json.encode(fleet.rollout), type=Rollout)
    assert again == fleet.rollout


STEPS = st.sampled_from(
    ["fetching", "installing", "draining", "restarting", "up", "kept", "gone_back", "failed", "refused", "unheard-of"]
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens(data: st.DataObject) -> None:
    """Nobody is told before its wave, no more are away than may be, who was told and failed is told to go back, and it
    ends, after time enough."""
    count = data.draw(st.integers(1, 8))
    most_away, canary = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    fleet = Fleet.of(count, most_away=most_away, canary=canary, waves=(50, 100), control_plane=data.draw(st.booleans()))
    rollout = fleet.rollout
    nodes = list(rollout.nodes)
    forward: set[str] = set()
    back: set[str] = set()
    for _ in range(data.draw(st.integers(0, 40))):
        node = data.draw(st.sampled_from(nodes))
        match data.draw(st.sampled_from(["said", "came", "went", "time", "pulled", "restart"])):
            case "said":
                fleet.said(node, data.draw(STEPS))
            case "came" if node != CONTROL_PLANE:
                fleet.does(rollout.came(node, OLD, updates=True, now=fleet.now))
            case "went":
                rollout.went(node)
            case "pulled":
                fleet.does(rollout.pulled(node, fleet.now, well=data.draw(st.booleans())))
            case "time":
                fleet.passes(data.draw(st.floats(0, 400)))
            case "restart":
                rollout = fleet.rollout = msgspec.json.decode(msgspec.json.encode(rollout), type=Rollout)
        before = rollout.state
        for told in fleet.take():
            (forward if isinstance(told, Forward) else back).add(told.node)
            assert not isinstance(told, Back) or told.node in forward, "it never went"
        assert sum(one.state == "told" for one in rollout.nodes.values()) <= max(most_away, 1)
        assert before != "running" or not any(one.state == "going_back" for one in rollout.nodes.values())
    for _ in range(200):
        fleet.passes(1500)
    assert rollout.ended
    for one in rollout.nodes.values():
        assert one.state not in ("told", "up", "going_back")
        if rollout.state != "done" and one.state == "done":
            raise AssertionError("it stays on a release that failed")


@pytest.mark.parametrize("step", ["fetching", "restarting", "up"])
def test_a_control_plane_that_was_away_for_long_waits_for_nodes_to_come_again(step: str) -> None:
    fleet = Fleet.of(2)
    fleet.said("node-00", step)
    fleet.take()
    fleet.now += 2 * 3600
    fleet.rollout.connected, fleet.rollout.began = {}, fleet.now
    fleet.passes(0.5)
    assert (fleet.rollout.state, fleet.take()) == ("running", [])
    fleet.does(fleet.rollout.came("node-00", NEW, updates=True, now=fleet.now))
    fleet.said("node-00", "kept")
    fleet.passes(61)
    fleet.passes(1)
    assert fleet.rollout.nodes["node-00"].state == "done"


def test_nodes_that_go_back_get_their_time_after_the_control_plane_was_away() -> None:
    fleet = Fleet.of(2)
    fleet.goes_well("node-00")
    fleet.does(fleet.rollout.abort(fleet.now))
    fleet.now += 2 * 3600
    fleet.rollout.connected, fleet.rollout.began = {}, fleet.now
    fleet.passes(0.5)
    assert fleet.rollout.state == "going_back"
    fleet.said("node-00", "gone_back")
    assert fleet.rollout.state == "aborted"
    assert fleet.rollout.nodes["node-00"].state == "gone_back"


def test_one_that_cannot_go_back_is_not_said_to_have_gone() -> None:
    fleet = Fleet.of(3)
    fleet.goes_well("node-00")
    fleet.does(fleet.rollout.abort(fleet.now))
    gone = ErrorInfo("storage", "The version before is not there any more.")
    fleet.does(fleet.rollout.said("node-00", "failed", NEW, gone, fleet.now))
    assert (fleet.rollout.nodes["node-00"].state, fleet.rollout.nodes["node-00"].error) == ("failed", gone)
    assert fleet.rollout.state == "aborted"

    fleet = Fleet.of(3)
    fleet.said("node-00", "installing")
    fleet.does(fleet.rollout.abort(fleet.now))
    fleet.said("node-00", "failed", ErrorInfo("storage", "its disk is full"))
    assert fleet.rollout.nodes["node-00"].state == "gone_back", "it never went"


def test_who_moves_is_who_was_told() -> None:
    fleet = Fleet.of(2)
    rollout = fleet.rollout
    assert (rollout.moves("node-00"), rollout.moves("node-01"), rollout.moves("stranger")) == (True, False, False)
    fleet.goes_well("node-00")
    assert not rollout.moves("node-00"), "it came up"
    fleet.does(rollout.abort(fleet.now))
    assert rollout.moves("node-00"), "it goes back"
