"""The soak: pulls, removals and garbage collections go on in a world of six nodes while faults are drawn at random, up
to three at a time. At the end everything is healed, every pull has to have ended, and every store is hashed again."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.chaos.matrix.cell_run import ended
from tests.chaos.matrix.cells import LASTS, MEANINGLESS, Fault, Target
from tests.chaos.matrix.checker import wrongs
from tests.chaos.matrix.injuries import injury
from tests.chaos.matrix.published import Published
from tests.chaos.matrix.reasons import Injured, is_true
from tests.chaos.matrix.world import World

NODES = 6
_FAULT_EVERY = 2.0  # seconds
_AT_ONCE = 3  # faults
_RUNNING = 6  # pulls
_PULL_EVERY = 0.5  # seconds
_MODELS = 6  # at the registry
_TIDY_EVERY = 1.5  # seconds between removals, collections, and models that give way to new ones
_DISK = 320 << 20

# What is damaged at rest on a node is for `modeldist verify` to find, and its cells have it; and a clock that can be
# shifted is only there in its cells.
_LEFT_OUT = {
    (Target.DISK, Fault.CORRUPT),
    (Target.PARENT, Fault.CORRUPT),
    *((target, Fault.CLOCK) for target in Target),
}
DRAWN = tuple(
    (target, fault)
    for target in Target
    for fault in Fault
    if (target, fault) not in MEANINGLESS and (target, fault) not in _LEFT_OUT and target is not Target.PARENT
)


@dataclass
class Pull:
    node: int
    model: Published
    process: subprocess.Popen[str]
    began: float


@dataclass
class Hurt:
    """A fault that lasts until `until`. `who` it is done to has no other meanwhile."""

    target: Target
    fault: Fault
    who: str
    node: int
    began: float
    until: float
    healing: ExitStack

    def till(self, now: float) -> Injured:
        """As it is remembered."""
        return Injured(self.target, self.fault, self.began, now, self.node)


@dataclass
class Report:
    """`wrong`: sentences about what should not be."""

    seed: int
    minutes: float
    faults: Counter[str] = field(default_factory=Counter)
    pulls: int = 0
    finished: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    removed: int = 0
    collected: int = 0
    files: int = 0
    bytes: int = 0
    wrong: list[str] = field(default_factory=list)


class Soak:
    def __init__(self, world: World, seed: int, minutes: float) -> None:
        self._world = world
        self._rng = random.Random(seed)
        self._minutes = minutes
        self.report = Report(seed, minutes)
        self._hurts: list[Hurt] = []
        self._recovering: list[Hurt] = []  # healed, and not at work again
        self._past: list[Injured] = []
        self._pulls: list[Pull] = []
        self._next_pull = 0.0
        self._tidying: list[subprocess.Popen[str]] = []
        self._present: set[tuple[int, str]] = set()  # (node, reference) that were finished and not removed
        self._gone: list[Published] = []

    def run(self) -> Report:
        now = time.monotonic()
        end, next_fault, next_tidy = now + 60 * self._minutes, now + 3, now + 10
        while (now := time.monotonic()) < end:
            self._heal(now)
            self._supervise()
            self._reap()
            self._pull()
            if now >= next_fault and len(self._hurts) < _AT_ONCE:
                self._hurt(now)
                next_fault += _FAULT_EVERY
            if now >= next_tidy:
                self._tidy()
                next_tidy = now + _TIDY_EVERY
            time.sleep(0.05)
        self._heal(float("inf"))
        self._world.well()
        for pull in self._pulls:
            self._note(pull)
        for command in self._tidying:
            self._try_tidied(command)
        self._world.well()
        self._check()
        return self.report

    # --- faults ----------------------------------------------------------------------------------------------------

    def _hurt(self, now: float) -> None:
        target, fault = self._rng.choice(DRAWN)
        node = self._rng.randrange(NODES)
        who = f"n{node}" if target in (Target.AGENT, Target.NETWORK, Target.DISK) else str(target)
        if any(hurt.who == who for hurt in self._hurts):
            return
        model = self._rng.choice(self._world.models)
        healing = ExitStack()
        if target is Target.DISK and fault is Fault.KILL:  # what was not synced is lost, and so it may be
            self._present = {(there, reference) for there, reference in self._present if there != node}
        healing.enter_context(injury(self._world, target, fault, self._rng, node=node, model=model))
        lasts = LASTS[fault] * self._rng.uniform(0.5, 2)
        self._hurts.append(Hurt(target, fault, who, node, now, time.monotonic() + lasts, healing))
        self.report.faults[f"{target}, {fault}"] += 1

    def _heal(self, now: float) -> None:
        for hurt in [hurt for hurt in self._hurts if hurt.until <= now]:
            self._hurts.remove(hurt)
            hurt.healing.close()
            self._recovering.append(hurt)
        for hurt in [hurt for hurt in self._recovering if self._at_work(hurt)]:
            self._recovering.remove(hurt)
            self._past.append(hurt.till(time.monotonic()))

    def _at_work(self, hurt: Hurt) -> bool:
        """What was hurt, as its users see it. How long a process takes to start is up to the machine."""
        world = self._world
        if hurt.target in (Target.AGENT, Target.DISK):
            return world.listens(hurt.node)
        parties = {
            Target.ORIGIN: world.origin,
            Target.REGISTRY: world.registry,
            Target.CONTROL: world.control,
            Target.DATABASE: world.control,
        }
        return hurt.target not in parties or parties[hurt.target].works

    def _supervise(self) -> None:
        """Start again what ended and is not under a fault, as systemd does: a control plane whose database was away."""
        names = {"control": str(Target.CONTROL), "database": str(Target.DATABASE)}
        hurt = {hurt.who for hurt in self._hurts}
        for party in self._world.parties:
            if not party.running and names.get(party.name, party.name) not in hurt:
                party.start()

    # --- what goes on ----------------------------------------------------------------------------------------------

    def _pull(self) -> None:
        if len(self._pulls) < _RUNNING and time.monotonic() >= self._next_pull:
            self._next_pull = time.monotonic() + _PULL_EVERY
            if len(self._world.models) < _MODELS:
                model = self._world.publish(self._rng)
            else:
                model = self._rng.choice(self._world.models)
            busy = {(pull.node, pull.model.reference) for pull in self._pulls}
            node = self._rng.randrange(NODES)
            if (node, model.reference) in busy:
                return
            process = self._world.pull(node, model.reference)
            self.report.pulls += 1
            self._pulls.append(Pull(node, model, process, time.monotonic()))

    def _reap(self) -> None:
        for pull in [pull for pull in self._pulls if pull.process.poll() is not None]:
            self._pulls.remove(pull)
            self._note(pull)

    def _note(self, pull: Pull) -> None:
        try:
            end = ended(pull.process, None, self._world)
        except AssertionError as wrong:
            self.report.wrong.append(str(wrong))
            return
        if end.code == 0:
            self.report.finished += 1
            self._present.add((pull.node, pull.model.reference))
            return
        self.report.failed[str(end)] += 1
        now = time.monotonic()
        injuries = [*self._past, *(hurt.till(now) for hurt in (*self._hurts, *self._recovering))]
        if not is_true(end.code, end.said, node=pull.node, began=pull.began, end=now, injuries=injuries):
            self.report.wrong.append(f"not a true reason on n{pull.node}: {end}\n{self._lately(pull.began, injuries)}")

    def _lately(self, began: float, injuries: list[Injured]) -> str:
        """What was broken, in seconds from the beginning of the pull."""
        return "\n".join(
            f"    {each.target}, {each.fault}, n{each.node}: {each.since - began:.1f} to {each.until - began:.1f}"
            for each in injuries
            if each.until > began - 60
        )

    def _tidy(self) -> None:
        """Remove a model from a node, collect the garbage of one, or have one taken from everywhere."""
        self._tidying = [command for command in self._tidying if not self._try_tidied(command, wait=False)]
        kind = self._rng.choice(("rm", "gc", "forget", "forget"))
        node = self._rng.randrange(NODES)
        pulled = {pull.model.reference for pull in self._pulls}
        if kind == "gc":
            self._tidying.append(self._world.start(node, "gc", "--json"))
            self.report.collected += 1
        elif kind == "rm":
            there = sorted(reference for at, reference in self._present if at == node and reference not in pulled)
            if there:
                reference = self._rng.choice(there)
                self._present.discard((node, reference))
                self._tidying.append(self._world.start(node, "rm", "--json", reference))
                self.report.removed += 1
        else:
            idle = [model for model in self._world.models if model.reference not in pulled]
            if len(self._world.models) >= _MODELS and idle:
                model = self._rng.choice(idle)
                self._forget(model)

    def _forget(self, model: Published) -> None:
        """From the nodes that have it; where that fails it stays, and is looked at in the end all the same."""
        for node in [node for node, reference in self._present if reference == model.reference]:
            self._present.discard((node, model.reference))
            self._tidying.append(self._world.start(node, "rm", "--json", model.reference))
        model.forget()  # else the registry would grow as long as the soak lasts
        self._gone.append(model)
        self._world.models.remove(model)

    def _try_tidied(self, command: subprocess.Popen[str], *, wait: bool = True) -> bool:
        if not wait and command.poll() is None:
            return False
        try:
            ended(command, None, self._world)
        except AssertionError as wrong:
            self.report.wrong.append(str(wrong))
        return True

    # --- the end ---------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        every = [*self._world.models, *self._gone]
        by_reference = {model.reference: model for model in every}
        for node in range(NODES):
            present = [by_reference[reference] for at, reference in sorted(self._present) if at == node]
            store = self._world.store(node)
            self.report.wrong += wrongs(store, every, present)
            files = list((store / "blobs" / "sha256").glob("*/*"))
            self.report.files += len(files)
            self.report.bytes += sum(path.stat().st_size for path in files)


def soak(minutes: float, seed: int) -> Report:
    with World(NODES, disk=_DISK) as world:
        report = Soak(world, seed, minutes).run()
        if world.room.was_full:
            report.wrong.insert(0, f"no result: the host's disk was full. {world.room}")
        return report


def said(report: Report) -> list[str]:
    """The report in lines."""
    return [
        f"soak: seed {report.seed}, {report.minutes:g} minutes, {NODES} agents, {report.faults.total()} faults",
        *(f"  {count:4} {fault}" for fault, count in sorted(report.faults.items())),
        f"{report.pulls} pulls: {report.finished} finished, {report.failed.total()} failed",
        *(f"  {count:4} {why}" for why, count in report.failed.most_common()),
        f"{report.removed} removals and {report.collected} collections meanwhile",
        f"{report.files} files, {report.bytes / 1e6:.0f} MB of all stores hashed again at the end",
        f"{len(report.wrong)} wrong",
        *(f"  {wrong}" for wrong in report.wrong),
    ]
