"""The control plane's core where traces are recorded: what agents ask of it, and what phase 1 decides for them, are
spans of the traces that they belong to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modeldist.artifact import Artifact, Digest
from modeldist.control.agent_session import AgentSession
from modeldist.control.core import ControlCore
from modeldist.control.ports import Addressed
from modeldist.errors import ErrorInfo
from modeldist.scheduler.messages import (
    Event,
    Instruction,
    JoinTasks,
    LeaseGranted,
    LeaseRevoked,
    LeaveTasks,
    Measure,
    Parents,
    TaskJoined,
    TaskRefused,
    TaskReset,
)
from modeldist.session.messages import Resolve
from modeldist.tracing import begin, shown, span
from modeldist.tracing.context import valid

DECISIONS = 32  # about one shard on one node, that are told

_NAMES: dict[type[Instruction], str] = {
    TaskJoined: "join",
    LeaseGranted: "lease",
    Parents: "parents",
    LeaseRevoked: "revoke",
    TaskReset: "reset",
    TaskRefused: "refuse",
}
"""What is a decision, by the first of which those that were made together are called."""


@dataclass(eq=False, slots=True)
class _Member:
    """A node that fetches a shard for somebody who traces that."""

    trace: str
    told: int = 0


class TracedCore(ControlCore):
    """What it remembers for it goes with the session, or with a task that the node is not let into."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._members: dict[str, dict[Digest, _Member]] = {}  # by node

    @property
    def traced(self) -> int:
        """Tasks that nodes fetch for somebody who traces that."""
        return sum(map(len, self._members.values()))

    def disconnect(self, session: AgentSession, reason: str, *, lost: bool = False) -> None:
        super().disconnect(session, reason, lost=lost)
        if session.node not in self.sessions:
            self._members.pop(session.node, None)

    async def _meaning(self, session: AgentSession, request: Resolve) -> tuple[Artifact, ErrorInfo | None]:
        if not (trace := valid(request.trace)):
            return await super()._meaning(session, request)
        about = shown(request.reference)
        with span("control resolve", trace, kind="server", node=session.node, reference=about) as told:
            artifact, away = await super()._meaning(session, request)
            told.say(
                digest=artifact.digest,
                files=len(artifact.files),
                bytes=artifact.needed,
                unchanged=artifact.digest == request.known,
                away=away.code if away is not None else "",
            )
            return artifact, away

    def _admitted(self, session: AgentSession, event: Event) -> Event:
        admitted = super()._admitted(session, event)
        match admitted:
            case JoinTasks():
                members = self._of(session.node)
                for join in admitted.tasks:
                    if trace := valid(join.trace):
                        members[join.task] = _Member(trace)
                    else:
                        members.pop(join.task, None)
            case LeaveTasks():
                for task in admitted.tasks:
                    self._of(session.node).pop(task, None)
        return admitted

    def _tell(self, instructions: Addressed) -> None:
        began = time.time_ns()
        said = list(instructions)
        super()._tell(said)
        self._trace(said, began)

    def _trace(self, said: Sequence[tuple[str, Instruction]], began: int) -> None:
        """A span for all that one event or tick decided about one shard on one node."""
        members = self._members
        decided: dict[tuple[str, Digest], list[Instruction]] = {}
        for node, instruction in said:
            if node not in members or isinstance(instruction, Measure):
                continue
            if instruction.task in members[node] and type(instruction) in _NAMES:
                decided.setdefault((node, instruction.task), []).append(instruction)
        for (node, task), instructions in decided.items():
            member = members[node][task]
            if any(isinstance(instruction, TaskRefused) for instruction in instructions):
                del members[node][task]
            member.told += 1
            if member.told > DECISIONS:
                continue
            told = begin(f"phase 1: {_NAMES[type(instructions[0])]}", member.trace, at=began, node=node, task=task)
            for instruction in instructions:
                match instruction:
                    case TaskJoined():
                        told.say(piece_size=instruction.piece_size)
                    case Parents():
                        told.say(parents=len(instruction.parents), stripes=instruction.stripes)
                    case LeaseGranted():
                        told.event(
                            "lease",
                            lease=instruction.lease,
                            first_piece=instruction.start,
                            pieces=instruction.count,
                            after=instruction.after,
                        )
                    case LeaseRevoked():
                        told.event("revoked", lease=instruction.lease)
            told.end()

    def _of(self, node: str) -> dict[Digest, _Member]:
        return self._members.setdefault(node, {})
