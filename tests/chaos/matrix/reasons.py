"""Which reasons for a failed pull are true: what each fault may be said to have done, to whom, and how long after."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tests.chaos.matrix.cells import REASONS, Fault, Target

_OF_ONE_NODE = (Target.AGENT, Target.NETWORK, Target.DISK)
_ECHO: dict[Target, float] = {
    Target.AGENT: 2.0,
    Target.PARENT: 0.0,
    Target.ORIGIN: 15.0,  # what went wrong is remembered for ten
    Target.REGISTRY: 15.0,
    Target.CONTROL: 15.0,  # agents come back, each after its own pause
    Target.DATABASE: 15.0,
    Target.NETWORK: 20.0,  # sessions are opened again, and origins asked
    Target.DISK: 2.0,
}
"""Seconds after the fault was healed, and what it was done to at work again, for which a pull may still begin into
what it left."""
_CORRUPT_ECHO = 30.0  # seconds: wrong pieces go round until the whole is proven wrong
_NODE = re.compile(r"/(?:disk-)?n(\d+)(?=[/.])")  # in a path of a world


@dataclass(frozen=True)
class Injured:
    """A fault that was done from `since` until what it was done to was at work again, `until` (seconds of one clock);
    to `node` where one node has it."""

    target: Target
    fault: Fault
    since: float
    until: float
    node: int | None = None

    def could_say(self, code: int, node: int, began: float, end: float) -> bool:
        """Whether a pull on `node` that ran from `began` to `end` may tell it by this exit code."""
        echo = _CORRUPT_ECHO if self.fault is Fault.CORRUPT else _ECHO[self.target]
        return (
            code in REASONS[self.target, self.fault]
            and (self.target not in _OF_ONE_NODE or self.node == node)
            and self.since <= end
            and began <= self.until + echo
        )


def is_true(code: int, said: str, *, node: int, began: float, end: float, injuries: Iterable[Injured]) -> bool:
    """Whether what a failed pull said tells of a fault that there was for it, and of no other node's files."""
    told = {int(number) for number in _NODE.findall(said)}
    return told <= {node} and any(each.could_say(code, node, began, end) for each in injuries)
