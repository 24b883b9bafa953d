"""The trees along which a large swarm passes its stripes on."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeldist.scheduler.phase1.trees import Trees


def depths(trees: Trees, nodes: dict[str, str], tree: int) -> dict[str, int]:
    """Hops from the root. Fails when somebody is in no tree, or in a circle."""
    found: dict[str, int] = {}
    for node in nodes:
        path, at = [], node
        while at and at not in found:
            path.append(at)
            assert len(path) <= len(nodes), "a circle"
            at = trees.upstream(at)[tree]
        for hops, name in enumerate(reversed(path), start=found[at] + 1 if at else 0):
            found[name] = hops
    return found


def check(trees: Trees, nodes: dict[str, str]) -> None:
    for tree in range(trees.fanout):
        found = depths(trees, nodes, tree)
        assert sum(hops == 0 for hops in found.values()) == min(1, len(nodes))
        entered = Counter(
            rack for node, rack in nodes.items() if nodes.get(trees.upstream(node)[tree]) not in (rack, None)
        )
        assert all(times == 1 for times in entered.values()), "a rack is entered once"


def children(trees: Trees, nodes: dict[str, str]) -> Counter[str]:
    return Counter(parent for node in nodes for parent in trees.upstream(node) if parent)


def grown(count: int, per_rack: int, fanout: int = 3) -> tuple[Trees, dict[str, str]]:
    trees = Trees(fanout)
    nodes = {f"n{index}": f"r{index // per_rack}" for index in range(count)}
    for node, rack in nodes.items():
        trees.add(node, rack)
    assert sorted(trees.plan()) == sorted(nodes)
    return trees, nodes


@pytest.mark.parametrize(("count", "per_rack", "deepest"), [(1000, 1000, 7), (1000, 10, 9), (1000, 40, 10), (1, 1, 0)])
def test_every_node_is_few_hops_away_and_has_as_many_children_as_parents(
    count: int, per_rack: int, deepest: int
) -> None:
    trees, nodes = grown(count, per_rack)
    check(trees, nodes)
    assert max(children(trees, nodes).values(), default=0) <= trees.fanout + 1
    assert max(max(depths(trees, nodes, tree).values()) for tree in range(trees.fanout)) <= deepest


def test_nodes_that_come_one_by_one_hang_no_deeper() -> None:
    trees = Trees(3)
    nodes: dict[str, str] = {}
    for index in range(300):
        nodes[f"n{index}"] = "r"
        trees.add(f"n{index}", "r")
        trees.plan()
    check(trees, nodes)
    assert max(depths(trees, nodes, 0).values()) <= 7
    assert max(children(trees, nodes).values()) <= 4


def test_one_change_concerns_few() -> None:
    trees, nodes = grown(500, 500)
    trees.remove("n123")
    del nodes["n123"]
    assert len(trees.plan()) <= 15
    check(trees, nodes)


def test_a_leaf_has_no_children_and_a_root_that_fails_is_replaced() -> None:
    trees, nodes = grown(50, 50)
    (root,) = [node for node in nodes if trees.roots_at(node) == (0,)]
    trees.make_leaf(root)
    trees.plan()
    check(trees, nodes)
    assert children(trees, nodes)[root] == 0
    assert trees.roots_at(root) == ()


def test_before_it_is_planned_a_node_has_no_upstream() -> None:
    trees = Trees(3)
    trees.add("a", "")
    assert trees.changed
    assert trees.upstream("a") == ()
    assert trees.roots_at("a") == ()
    assert trees.plan() == ["a"]
    assert trees.roots_at("a") == (0, 1, 2)
    trees.remove("nobody")
    assert trees.plan() == []


STEPS = st.lists(
    st.tuples(st.sampled_from(("add", "add", "leaf", "remove", "make_leaf", "plan")), st.integers(0, 30)), max_size=80
)


@settings(deadline=None, max_examples=300)
@given(steps=STEPS, fanout=st.integers(2, 4))
def test_whoever_comes_and_goes_the_trees_are_whole(steps: list[tuple[str, int]], fanout: int) -> None:
    trees, nodes = Trees(fanout), {}
    for what, number in steps:
        node, rack = f"n{number}", f"r{number % 4}"
        if what in ("add", "leaf"):
            trees.add(node, rack, leaf=what == "leaf")
            nodes.setdefault(node, rack)
        elif what == "remove":
            trees.remove(node)
            nodes.pop(node, None)
        elif what == "make_leaf":
            trees.make_leaf(node)
        else:
            trees.plan()
    trees.plan()
    check(trees, nodes)
    assert len(trees) == len(nodes)
