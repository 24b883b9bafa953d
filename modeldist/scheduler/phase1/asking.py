"""Who would read from the origin: asked, waiting its turn, parked (nothing to lease), capped (has enough for now)."""

from __future__ import annotations

import heapq

from modeldist.artifact import Digest
from modeldist.scheduler.messages import Priority
from modeldist.scheduler.phase1.budget import Asker, OriginBudget
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.swarm import Member, Swarm


class Asking:
    """The askers of all origins. `dirty`: origins where something may be granted now."""

    def __init__(self, config: Phase1Config, swarms: dict[Digest, Swarm]) -> None:
        self._config = config
        self._swarms = swarms
        self.origins: dict[str, OriginBudget] = {}
        self.dirty: dict[str, None] = {}  # dicts where order shows, so that a seed decides everything
        self._capped: dict[str, dict[Asker, None]] = {}
        self._timers: list[tuple[float, Digest]] = []

    def origin(self, name: str) -> OriginBudget:
        budget = self.origins.get(name)
        if budget is None:
            limits = self._config.origins.get(name, self._config.default_origin)
            budget = self.origins[name] = OriginBudget(limits)
        return budget

    def ask(self, swarm: Swarm, member: Member, pieces: int) -> None:
        """The member could read `pieces` more. Replaces what it asked before."""
        member.asked = pieces if member.wants else 0
        if member.asked and not swarm.readable(member):
            self.park(swarm, member)
        elif member.asked:
            self.queue(swarm, member)
        else:
            swarm.parked.pop(member.node, None)  # or it would be taken for an asker again when it is woken
            self.stop(swarm, member.node)

    def stop(self, swarm: Swarm, node: str) -> None:
        """It asks for nothing more of this task."""
        asking = self.origin(swarm.origin).asking
        tasks = asking.get(node, {})
        if tasks.pop(swarm.task, self) is None:
            swarm.askers -= 1
            self.origin(swarm.origin).asks -= 1
        if not tasks and asking.pop(node, None) is not None:
            self.uncap(swarm.origin)  # the others' quotas grow

    def queue(self, swarm: Swarm, member: Member) -> None:
        swarm.parked.pop(member.node, None)
        budget = self.origin(swarm.origin)
        if member.node not in budget.asking:
            budget.begin(member.node)
        tasks = budget.asking.setdefault(member.node, {})
        if swarm.task not in tasks:
            tasks[swarm.task] = None
            swarm.askers += 1
            budget.asks += 1
        budget.queue((member.node, swarm.task), int(Priority.SERVING if member.first else member.priority))
        self.dirty[swarm.origin] = None

    def park(self, swarm: Swarm, member: Member) -> None:
        """There is nothing to lease to it, until `wake`."""
        swarm.parked[member.node] = None
        self.stop(swarm, member.node)

    def cap(self, origin: str, asker: Asker) -> None:
        """It has enough for now, until `uncap`."""
        self._capped.setdefault(origin, {})[asker] = None

    def uncap(self, origin: str) -> None:
        for node, task in self._capped.pop(origin, ()):
            swarm = self._swarms.get(task)
            member = swarm.members.get(node) if swarm is not None else None
            if swarm is not None and member is not None and member.asked and node not in swarm.parked:
                self.queue(swarm, member)

    def wake(self, swarm: Swarm) -> None:
        """There may be something to lease again."""
        self.dirty[swarm.origin] = None
        if swarm.dark_since is None and not swarm.needed & ~swarm.held & ~swarm.leased:
            return  # as there may be thousands of them
        for node in [node for node in swarm.parked if swarm.readable(swarm.members[node])]:
            self.queue(swarm, swarm.members[node])

    def wake_at(self, swarm: Swarm, when: float) -> None:
        heapq.heappush(self._timers, (when, swarm.task))

    def watch_dark(self, swarm: Swarm) -> None:
        """Pieces held without a known digest are leased to somebody once that has lasted too long."""
        if swarm.dark_since is not None and swarm.dark_since != swarm.dark_noted:
            swarm.dark_noted = swarm.dark_since
            self.wake_at(swarm, swarm.dark_since + self._config.digest_grace)

    def tick(self, now: float) -> None:
        """Askers that waited for time to pass are looked at again."""
        while self._timers and self._timers[0][0] <= now:
            swarm = self._swarms.get(heapq.heappop(self._timers)[1])
            if swarm is not None:
                swarm.note_unproven(now, self._config.digest_grace)
                self.wake(swarm)
        for name, budget in self.origins.items():
            self.uncap(name)
            if budget.waiting:
                self.dirty[name] = None
