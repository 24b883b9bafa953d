"""One rollout and its nodes: a state machine without I/O. Times are seconds since the epoch.

The control plane first, where it is to be updated; then some nodes, the canary; then the others, wave by wave. A node
is done with when it was up and well for a while. As soon as one more than tolerated is not, nobody else is told, and
all that were go back to what they ran before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from modeldist.errors import ErrorInfo

RolloutState = Literal["running", "going_back", "done", "failed", "aborted"]
NodeState = Literal["waiting", "told", "up", "done", "refused", "failed", "going_back", "gone_back"]

ENDED = frozenset({"done", "failed", "aborted"})
UNDER_WAY = frozenset({"fetching", "installing", "draining", "restarting"})
PREPARED_WITHIN = 900.0  # seconds from one word of a node to the next, while it fetches and installs
SLACK = 60.0  # seconds beside those that an update was given
TRIES = 3  # starts of a version before its launcher gives it up, each of which may take `within`
CONTROL_PLANE = ""  # its place among the nodes
_ALL = 100
_LONGEST = 2000  # characters of what a node says


class Plan(msgspec.Struct, frozen=True):
    """What was asked for. `waves` are shares of all nodes in percent, rising; `most_away`: nodes that may be between
    two versions at a time; `health`: seconds for which a node has to be well; `tolerate`: nodes that may fail."""

    release: str
    canary: int = 1
    waves: tuple[int, ...] = (10, 50, 100)
    most_away: int = 1
    health: float = 60.0
    within: float = 60.0
    drain: float = 30.0
    tolerate: int = 0
    control_plane: bool = False


class NodeUpdate(msgspec.Struct):
    """How far one node is. `step`: what it said last; `since`: when `state` changed, `heard` when it last said
    anything; `before`, `version`: what it ran, and runs."""

    node: str
    state: NodeState = "waiting"
    since: float = 0.0
    heard: float = 0.0
    step: str = ""
    before: str = ""
    version: str = ""
    pulls: int = 0
    failed_pulls: int = 0
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """Tell the node to update itself."""

    node: str


@dataclass(frozen=True, slots=True)
class Back:
    """Tell it to go back to what it ran before."""

    node: str


Instruction = Forward | Back


@dataclass(slots=True)
class Rollout:
    """`nodes` in the order in which they are told. `reason`: why it goes back. `wave`: 0 is the control plane, 1 the
    canary, then the waves. What `connected` says is not kept: agents come again."""

    id: str
    plan: Plan
    created_at: float
    nodes: dict[str, NodeUpdate]
    state: RolloutState = "running"
    finished_at: float | None = None
    wave: int = 0
    version: str = ""
    reason: str = ""
    aborted: bool = False
    connected: dict[str, bool] = field(default_factory=dict)
    other_pulls: int = 0
    other_failed: int = 0
    began: float = 0.0  # when this process took it up: before that nobody could be heard

    @classmethod
    def new(cls, id_: str, plan: Plan, nodes: Iterable[str], now: float) -> Rollout:
        named = [CONTROL_PLANE, *nodes] if plan.control_plane else list(nodes)
        return cls(id_, plan, now, {node: NodeUpdate(node, since=now) for node in named})

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    # --- what happens -----------------------------------------------------------------------------------------------

    def came(self, node: str, version: str, *, updates: bool, now: float) -> list[Instruction]:
        """It is connected. `updates`: it knows how to be updated."""
        if (one := self.nodes.get(node)) is None or self.ended:
            return []
        self.connected[node] = True
        one.version = version[:_LONGEST]
        one.before = one.before or one.version
        if not updates and one.state in ("waiting", "told"):
            self._refused(one, now, ErrorInfo("unsupported", f"It runs {one.version}, which cannot update itself."))
        again: list[Instruction] = [Forward(node)] if one.state == "told" else []
        again += [Back(node)] if one.state == "going_back" or self._stays_behind(one) else []
        return again + self.look(now)

    def went(self, node: str) -> None:
        self.connected.pop(node, None)

    def said(self, node: str, step: str, version: str, error: ErrorInfo | None, now: float) -> list[Instruction]:
        """How its update goes on, as an agent says it in `UpdateProgress`."""
        one = self.nodes.get(node)
        if one is None or self.ended or one.state in ("waiting", "refused"):
            return []
        one.step, one.version, one.heard = step[:_LONGEST], version[:_LONGEST], now
        match step:
            case "up" | "kept" if one.state == "told":
                self.version = self.version or one.version
                self._to(one, "up", now)
            case "refused" if one.state == "told":
                self._refused(one, now, error)
            case "failed" if one.state == "going_back" and one.version != one.before:
                self._failed(one, now, error)  # it runs what it was to leave
            case "gone_back" | "failed" if one.state == "going_back":
                self._to(one, "gone_back", now)
            case "gone_back" | "failed" if one.state in ("told", "up", "done"):
                self._failed(one, now, error)
        return self.look(now)

    def pulled(self, node: str, now: float, *, well: bool) -> list[Instruction]:
        """A pull on it ended, well or for a reason that is neither the reference's nor the origin's."""
        one = self.nodes.get(node)
        if one is None or one.state not in ("up", "done"):
            self.other_pulls += 1
            self.other_failed += not well
            return []
        one.pulls += 1
        one.failed_pulls += not well
        return self.look(now)

    def moves(self, node: str) -> bool:
        """Whether it was told to become another version, or to go back, and has not said that it did."""
        one = self.nodes.get(node)
        return one is not None and one.state in ("told", "going_back", "failed")

    def abort(self, now: float) -> list[Instruction]:
        """Tell nobody else, and have those that were told go back."""
        if self.state != "running":
            return []
        self.aborted = True
        return self._go_back("it was aborted", now) + self.look(now)

    def look(self, now: float) -> list[Instruction]:
        """Time passed, or something happened."""
        if self.state == "running":
            told = self._judge(now)
            failed = [one for one in self.nodes.values() if one.state == "failed"]
            control = self.nodes.get(CONTROL_PLANE)
            if len(failed) > self.plan.tolerate or control in failed:
                return told + self._go_back(_why(failed[-1]), now) + self.look(now)
            return told + self._forward(now)
        if self.state == "going_back":
            return self._await_back(now)
        return []

    # --- judging ----------------------------------------------------------------------------------------------------

    def _judge(self, now: float) -> list[Instruction]:
        """Those that fail go back by themselves, or are told to."""
        before = {one.node for one in self.nodes.values() if one.state == "failed"}
        for one in self.nodes.values():
            if one.state == "told" and now > max(one.since, one.heard, self.began) + self._patience(one):
                at = f"It said last that it was {one.step}." if one.step else "It said nothing."
                self._failed(one, now, ErrorInfo("agent", f"The node did not come back. {at}"))
            elif one.state == "up" and self._ill(one):
                said = f"{one.failed_pulls} of {one.pulls} pulls on it failed since, and fewer elsewhere."
                self._failed(one, now, ErrorInfo("agent", said))
            elif one.state == "up" and now > one.since + self.plan.health:
                if self._here(one):
                    self._to(one, "done", now)
                elif now > max(one.since, self.began) + self.plan.health + TRIES * self.plan.within + SLACK:
                    self._failed(one, now, ErrorInfo("agent", "The node came up, and went away."))
        return [Back(one.node) for one in self.nodes.values() if one.node not in before and self._stays_behind(one)]

    @staticmethod
    def _stays_behind(one: NodeUpdate) -> bool:
        """It failed, and did not say that it goes back."""
        return one.state == "failed" and one.step not in ("gone_back", "failed")

    def _ill(self, one: NodeUpdate) -> bool:
        return one.failed_pulls > 0 and one.failed_pulls * max(self.other_pulls, 1) > self.other_failed * one.pulls

    def _patience(self, one: NodeUpdate) -> float:
        match one.step:
            case "draining":
                return self.plan.drain + SLACK
            case "restarting":
                return TRIES * self.plan.within + SLACK
            case _:
                return PREPARED_WITHIN

    def _here(self, one: NodeUpdate) -> bool:
        return one.node == CONTROL_PLANE or self.connected.get(one.node, False)

    # --- forward ----------------------------------------------------------------------------------------------------

    def _forward(self, now: float) -> list[Instruction]:
        told: list[Instruction] = []
        while self.wave <= len(self.plan.waves) + 1:
            told += self._tell(now)
            if any(one.state in ("told", "up") for one in self._in_turn()) or self._open() > 0:
                return told
            self.wave += 1
        self.state, self.finished_at = "done", now
        return told

    def _in_turn(self) -> list[NodeUpdate]:
        """Whom this wave is about: the control plane alone, or nodes."""
        return [one for one in self.nodes.values() if (one.node == CONTROL_PLANE) == (self.wave == 0)]

    def _open(self) -> int:
        """How many more are to be told in this wave."""
        turn = self._in_turn()
        waiting = sum(one.state == "waiting" for one in turn)
        begun = sum(one.state not in ("waiting", "refused") for one in turn)
        match self.wave:
            case 0:
                wanted = len(turn)
            case 1:
                wanted = self.plan.canary
            case wave:
                takes_part = sum(one.state != "refused" for one in turn)
                wanted = math.ceil(takes_part * self.plan.waves[wave - 2] / _ALL)
        return max(0, min(wanted - begun, waiting))

    def _tell(self, now: float) -> list[Instruction]:
        told: list[Instruction] = []
        turn = self._in_turn()
        away = sum(one.state == "told" for one in turn)
        open_ = self._open()
        for one in turn:
            if one.state != "waiting" or open_ <= 0 or away >= self.plan.most_away:
                continue
            if not self._here(one):
                if now > max(self.created_at, self.began) + self.plan.within:
                    self._refused(
                        one, now, ErrorInfo("control_unreachable", "It was not connected when its turn came.")
                    )
                continue
            self._to(one, "told", now)
            told.append(Forward(one.node))
            away += 1
            open_ -= 1
        return told

    # --- back -------------------------------------------------------------------------------------------------------

    def _go_back(self, reason: str, now: float) -> list[Instruction]:
        self.state, self.reason = "going_back", reason
        told: list[Instruction] = []
        for one in self.nodes.values():
            if one.state in ("told", "up", "done") and one.node != CONTROL_PLANE:
                self._to(one, "going_back", now)
                told.append(Back(one.node))
        return told

    def _await_back(self, now: float) -> list[Instruction]:
        for one in self.nodes.values():
            limit = PREPARED_WITHIN + self.plan.drain + TRIES * self.plan.within + SLACK
            if one.state == "going_back" and now > max(one.since, self.began) + limit:
                one.error = one.error or ErrorInfo("agent", "The node did not say that it went back.")
                self._to(one, "failed", now)
        if any(one.state == "going_back" for one in self.nodes.values()):
            return []
        control = self.nodes.get(CONTROL_PLANE)
        if control is not None and control.state in ("told", "up", "done"):  # it goes last: the nodes know it
            self._to(control, "going_back", now)
            return [Back(CONTROL_PLANE)]
        self.state, self.finished_at = ("aborted" if self.aborted else "failed"), now
        return []

    # --- states -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _to(one: NodeUpdate, state: NodeState, now: float) -> None:
        one.state, one.since = state, now

    def _refused(self, one: NodeUpdate, now: float, error: ErrorInfo | None) -> None:
        one.error = _short(error)
        self._to(one, "refused", now)

    def _failed(self, one: NodeUpdate, now: float, error: ErrorInfo | None) -> None:
        one.error = _short(error)
        self._to(one, "failed", now)


def _why(one: NodeUpdate) -> str:
    who = f"node {one.node}" if one.node != CONTROL_PLANE else "the control plane"
    return f"{who} failed: {one.error.message if one.error else 'it did not say why'}"


def _short(error: ErrorInfo | None) -> ErrorInfo | None:
    if error is None:
        return None
    code, message, remedy = (text[:_LONGEST].replace("\0", "�") for text in (error.code, error.message, error.remedy))
    return ErrorInfo(code, message, remedy)
