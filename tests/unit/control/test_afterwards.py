"""What is remembered of pulls that ended."""

from __future__ import annotations

from modeldist.control.pulls.afterwards import Afterwards
from modeldist.control.pulls.pull import Pull
from modeldist.control.pulls.selection import Selector
from modeldist.explain import Where
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import PullProgress

DISK = Where(waits={"disk": 9.0}, origin="hub.example")


def written(pull: str, nodes: int) -> Pull:
    """As the database has it: nothing of where time went."""
    made = Pull(pull, "org/model:v1", Selector(), Priority.PULL, 0.0)
    for number in range(nodes):
        made.add(f"node-{number}", 0.0)
    return made


def ended(pull: str, nodes: int) -> Pull:
    made = written(pull, nodes)
    for number, node in enumerate(list(made.nodes)):
        made.apply(node, PullProgress(pull, "done", seconds=float(number), where=DISK), 1.0)
    return made


def known(memory: Afterwards, pull: str, nodes: int) -> set[str]:
    asked = written(pull, nodes)
    memory.recall(asked)
    assert all(each.where in (None, DISK) for each in asked.nodes.values())
    assert all(each.seconds == int(each.node.removeprefix("node-")) for each in asked.nodes.values() if each.where)
    return {each.node for each in asked.nodes.values() if each.where}


def test_the_newest_pulls_are_remembered() -> None:
    memory = Afterwards(most=1000)
    for number in range(100):
        memory.remember(ended(f"pull-{number}", 3))
        assert memory.size <= 1000
    assert known(memory, "pull-99", 3) == {"node-0", "node-1", "node-2"}
    assert known(memory, "pull-0", 3) == set()
    assert known(memory, "never", 3) == set()


def test_of_a_very_large_pull_the_slowest_nodes() -> None:
    memory = Afterwards(most=1000)
    memory.remember(ended("pull", 1000))
    assert memory.size <= 1000
    found = {int(node.removeprefix("node-")) for node in known(memory, "pull", 1000)}
    assert found and found == set(range(min(found), 1000))


def test_nothing_is_remembered_where_nothing_was_told() -> None:
    memory = Afterwards()
    memory.remember(written("pull", 3))
    assert (memory.size, known(memory, "pull", 3)) == (0, set())


def test_a_node_that_takes_part_no_more_is_passed_over() -> None:
    memory = Afterwards()
    memory.remember(ended("pull", 3))
    assert known(memory, "pull", 1) == {"node-0"}
