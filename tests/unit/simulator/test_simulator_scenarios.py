"""The production scheduler in the simulator: it ends, reads each origin byte once, and is near the fluid limit.

Virtual time, one seed: these figures do not depend on the machine.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modeldist.scheduler.phase1 import OriginLimits, Phase1Config
from modeldist.simulator import NodeSpec, Scenario, simulate
from modeldist.simulator.__main__ import main
from modeldist.simulator.presets import MBIT, MIB, PRESETS
from modeldist.simulator.timeline import Timeline

RATE = 200 * MBIT


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("cold-8", 1.08),
        ("cold-16", 1.12),
        ("one", 1.05),
        ("slow-origin", 1.08),
        ("racks", 1.10),
        ("arrivals", 1.12),
        ("stuck", 1.12),
        ("busy", 1.15),
    ],
)
def test_near_the_fluid_limit_and_each_byte_read_once(name: str, most: float) -> None:
    result = simulate(PRESETS[name]())
    assert result.complete
    assert result.a == 1.0
    assert result.r <= most
    assert result.last_over_median < 1.2


def test_each_byte_crosses_a_racks_uplink_about_once() -> None:
    result = simulate(PRESETS["racks"]())
    assert max(result.rack_in.values()) <= 1.10 * result.unique_bytes


def test_killed_nodes_cost_the_survivors_little() -> None:
    result = simulate(PRESETS["kill"]())
    assert result.complete
    assert result.r <= 1.20
    assert result.a <= 1.02


@pytest.mark.parametrize("seed", range(1, 9))
def test_stragglers_cost_the_others_little(seed: int) -> None:
    result = simulate(replace(PRESETS["stragglers"](), seed=seed))
    assert result.a == 1.0
    assert result.r <= 1.05
    assert result.worst <= 1.08


@pytest.mark.parametrize(("name", "most"), [("cold-8", 1.03), ("cold-16", 1.05), ("racks", 1.03)])
def test_a_few_equal_nodes_are_put_in_a_line(name: str, most: float) -> None:
    """The mesh comes to 1.07, 1.13 and 1.08."""
    result = simulate(replace(PRESETS[name](), stream_spread=0.5, report_interval=0.25))
    assert result.a == 1.0
    assert result.r <= most


@pytest.mark.parametrize("name", ["slow-up", "slow-down"])
@pytest.mark.parametrize("place", range(8))
def test_a_line_is_soon_over_where_a_node_is_slow_that_nobody_knew_to_be(name: str, place: int) -> None:
    """Unless it is the last, who does not hold up anybody. The price: until then all behind it get a quarter."""
    scenario = PRESETS["stragglers"]()
    sound = [node for node in scenario.nodes if not node.name.startswith("slow")]
    sound.append(replace(sound[0], name="n6"))
    sound.insert(place, next(node for node in scenario.nodes if node.name == name))
    result = simulate(replace(scenario, nodes=tuple(sound), line_rates=False, report_interval=0.25))
    assert result.a == 1.0
    assert result.worst <= 1.20


def test_an_origin_that_is_slow_on_each_connection_is_read_by_all() -> None:
    nodes = tuple(NodeSpec(f"n{index}", 5 * RATE, 5 * RATE) for index in range(8))
    slow = Scenario(
        "slow streams", (1024 * MIB,), nodes, origin_rate=5 * RATE, stream_rate=RATE / 2, report_interval=0.25
    )
    assert simulate(slow).r <= 1.25


def test_many_small_shards() -> None:
    sizes = (*(16 * 1024 for _ in range(200)), 16 * MIB)
    nodes = tuple(NodeSpec(f"n{index}", RATE, RATE) for index in range(3))
    result = simulate(Scenario("small", sizes, nodes, origin_rate=RATE))
    assert result.a == 1.0
    assert result.r <= 1.60  # 0.8 s of bytes and some round trips


def test_a_seed_spares_the_origin() -> None:
    nodes = (NodeSpec("seed", RATE, RATE, holds=True), *(NodeSpec(f"n{i}", RATE, RATE, start=1.0) for i in range(3)))
    result = simulate(Scenario("seeded", (32 * MIB,), nodes, origin_rate=RATE))
    assert result.origin_bytes == 0
    assert result.nodes[0].sent >= 32 * MIB


def test_who_comes_when_the_first_has_finished_reads_nothing_again() -> None:
    """The digest of the piece that completed the shard is known too."""
    nodes = (NodeSpec("first", RATE, RATE), NodeSpec("late", RATE, RATE, start=5.0))
    result = simulate(Scenario("late", (32 * MIB,), nodes, origin_rate=RATE))
    assert result.complete
    assert result.a == 1.0


def test_the_origins_budget_bounds_the_time() -> None:
    nodes = tuple(NodeSpec(f"n{index}", RATE, RATE) for index in range(4))
    budget = Phase1Config(default_origin=OriginLimits(streams=2, rate=4 * MIB))
    result = simulate(Scenario("budget", (32 * MIB,), nodes, origin_rate=RATE, phase1=budget))
    assert result.complete
    assert result.seconds >= 32 / 4 - 1  # one second's worth may be saved up


def test_a_slow_stream_rate_is_made_up_by_several_streams() -> None:
    nodes = (NodeSpec("n0", RATE, RATE),)
    result = simulate(Scenario("streams", (64 * MIB,), nodes, origin_rate=RATE, stream_rate=RATE / 8))
    assert result.r <= 1.15


def test_nodes_whose_streams_are_slow_beside_others_read_less() -> None:
    result = simulate(replace(PRESETS["cold-8"](), stream_spread=0.5))
    assert result.complete
    assert result.a == 1.0
    assert result.r <= 1.15
    assert min(node.from_origin for node in result.nodes) < 0.5 * max(node.from_origin for node in result.nodes)


def test_nodes_that_want_different_shards() -> None:
    nodes = tuple(NodeSpec(f"n{index}", RATE, RATE, wants=(index, 4)) for index in range(4))
    result = simulate(Scenario("mixed", tuple(16 * MIB for _ in range(5)), nodes, origin_rate=RATE))
    assert result.complete
    assert result.a == 1.0


def striped(per_rack: int) -> Scenario:
    """Sixty nodes, ten seconds at 10 Gbit, uplinks 4:1."""
    rate, size = 10_000 * MBIT, 12_500_000_000
    nodes = tuple(NodeSpec(f"n{i}", rate, rate, rack=f"r{i // per_rack}" if per_rack else "") for i in range(60))
    uplinks = {node.rack: per_rack * rate / 4 for node in nodes if node.rack}
    shape = Scenario("striped", (size,), nodes, origin_rate=rate, rack_rate=uplinks, verify_rate=30e9, step=0.001)
    return replace(shape, piece_size=size // 256, phase1=Phase1Config(digest_messages=40_000))


def test_a_large_swarm_is_striped_and_near_the_limit() -> None:
    small = striped(per_rack=0)
    result = simulate(small)
    assert result.complete
    assert result.a == 1.0
    assert result.r <= 1.12
    exact = simulate(replace(small, step=0.0))
    assert result.seconds == pytest.approx(exact.seconds, rel=0.05)


def test_several_shards_at_once_in_a_striped_swarm() -> None:
    """A stripe that the origin has not come to yet is not late."""
    nodes = tuple(NodeSpec(f"n{i}", RATE, RATE) for i in range(48))
    result = simulate(Scenario("shards", (16 * MIB,) * 8, nodes, origin_rate=RATE, step=0.002))
    assert result.complete
    assert result.a == 1.0
    assert result.r <= 1.25


def test_a_striped_swarm_enters_each_rack_once() -> None:
    result = simulate(striped(per_rack=10))
    assert result.r <= 1.15
    assert max(result.rack_in.values()) <= 1.05 * result.unique_bytes


def test_a_striped_swarm_loses_nodes_and_roots_and_goes_on() -> None:
    rate = 100 * MBIT
    nodes = tuple(NodeSpec(f"n{i}", rate, rate, leave=2.0 + i / 7 if i % 7 == 0 else None) for i in range(60))
    result = simulate(Scenario("losses", (64 * MIB,), nodes, origin_rate=rate, step=0.002))
    assert result.complete
    assert result.a <= 1.1
    assert result.r <= 2.0


def test_charts_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert main(["one", "--json", "--plots", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["completion.png", "origin.png", "uplinks.png"]


def test_a_run_that_cannot_end_says_so() -> None:
    nodes = (NodeSpec("n0", RATE, RATE, stuck=0.0),)
    result = simulate(Scenario("hopeless", (4 * MIB,), nodes, origin_rate=RATE, limit=30.0))
    assert not result.complete
    assert result.nodes[0].finished is None


def test_the_same_seed_gives_the_same_figures() -> None:
    small = replace(PRESETS["cold-8"](), shards=(16 * MIB,))
    assert simulate(small).as_dict() == simulate(small).as_dict()


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["one"]) == 0
    assert "cold-1" in capsys.readouterr().out
    assert main(["one", "--json"]) == 0
    (figures,) = json.loads(capsys.readouterr().out)
    assert figures["A"] == 1.0
    slow = ["one", "--json", "--set", "origin.streams=1", "--set", "stream_rate=5e6", "--set", "phase2.window=0.1"]
    assert main([*slow, "--set", "phase1.refresh=5"]) == 0
    (figures,) = json.loads(capsys.readouterr().out)
    assert figures["seconds"] > 13
    for wrong in (["nonsense"], ["one", "--set", "nonsense"], ["one", "--set", "phase2.nonsense=1"]):
        with pytest.raises(SystemExit):
            main(wrong)
        assert "nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["parts-8", "parts-8x4", "parts-8-and-2"])
def test_ranks_that_want_parts_of_each_shard_read_each_wanted_byte_once(name: str) -> None:
    result = simulate(PRESETS[name]())
    assert result.complete
    assert result.a == 1.0
    assert result.r <= 1.05
    assert result.wasted_bytes == 0


def test_parts_of_a_shard_are_not_all_of_it() -> None:
    ranks = tuple(NodeSpec(f"n{index}", RATE, RATE, part=(index, 8)) for index in range(3))
    result = simulate(Scenario("three-of-eight", (64 * MIB,), ranks, RATE))
    assert result.complete
    assert result.unique_bytes == result.origin_bytes == 24 * MIB


def test_a_timeline_says_how_full_the_links_were(capsys: pytest.CaptureFixture[str]) -> None:
    scenario, timeline = PRESETS["cold-8"](), Timeline(every=1.0)
    result = simulate(scenario, timeline)
    assert result.seconds - 1 <= timeline.samples[-1].at <= result.seconds
    assert [sample.at for sample in timeline.samples] == [float(at) for at in range(1, len(timeline.samples) + 1)]
    sent = sum(sample.origin for sample in timeline.samples) * scenario.origin_rate
    assert result.origin_bytes * 0.85 <= sent <= result.origin_bytes
    assert max(sample.down for sample in timeline.samples) >= 0.95
    assert timeline.samples[0].down < timeline.samples[3].down
    assert main(["cold-8", "--timeline"]) == 0
    assert "downlinks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("origin_rate=0", "origin_rate=0: it takes a number above 0"),
        ("origin_rate=nan", "origin_rate=nan: it takes a number above 0"),
        ("tick=0", "tick=0: it takes a number above 0"),
        ("report_interval=0", "report_interval=0: it takes a number above 0"),
        ("latency=-1", "latency=-1: it takes a number from 0 on"),
        ("phase2.window=nan", "phase2.window=nan: it takes a number from 0 on"),
        ("piece_size=0.5", "piece_size=0.5: it takes a whole number"),
        ("seed=inf", "seed=inf: it takes a whole number"),
        ("nodes=0", "nodes is no field with a number; there are origin_rate"),
        ("phase1.foo=1", "phase1.foo is no field with a number; there are candidates"),
        ("foo.bar=1", "foo.bar: not of scenario, phase1, phase2 or origin"),
    ],
)
def test_a_setting_that_no_scenario_can_have_is_named(
    setting: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cold-8", "--set", setting])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_no_seed_at_all_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cold-8", "--seeds", "0"])
    assert ended.value.code == 2
    assert "--seeds 0" in capsys.readouterr().err
