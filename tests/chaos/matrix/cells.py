"""The table: every target × fault × moment, either a cell that runs or the reason why it would mean nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Target(StrEnum):
    AGENT = "agent"
    PARENT = "parent"
    ORIGIN = "origin"
    REGISTRY = "registry"
    CONTROL = "control plane"
    DATABASE = "PostgreSQL"
    NETWORK = "node's network"
    DISK = "disk"
    RDMA = "RDMA device"


class Fault(StrEnum):
    KILL = "kill -9"
    STOP = "stop"
    SLOW = "slow"
    PARTITION = "partition and heal"
    CORRUPT = "corrupt"
    FULL = "full"
    RESTART = "restart"
    CLOCK = "clock jump"


class Moment(StrEnum):
    RESOLVE = "resolve"
    FIRST_LEASE = "first lease"
    MID_TRANSFER = "mid-transfer"
    VERIFY = "verify"
    PUBLISH = "publish"
    MATERIALISE = "materialise"
    GC = "garbage collection"


_SHIP = "it has no network but its node's: there"
_READS = "it writes nothing during a pull"
_NO_CLOCK = "nothing of ours depends on its clock"
_RDMA = "`make test-rdma`, on Soft-RoCE in a virtual machine: see below"

MEANINGLESS: dict[tuple[Target, Fault], str] = {
    (Target.AGENT, Fault.PARTITION): _SHIP,
    (Target.AGENT, Fault.CORRUPT): "what it holds is on its disk: there",
    (Target.AGENT, Fault.FULL): "what it writes is on its disk: there",
    (Target.PARENT, Fault.FULL): "a parent writes nothing to serve",
    (Target.ORIGIN, Fault.FULL): _READS,
    (Target.ORIGIN, Fault.CLOCK): _NO_CLOCK,
    (Target.REGISTRY, Fault.FULL): _READS,
    (Target.REGISTRY, Fault.CLOCK): _NO_CLOCK,
    (Target.CONTROL, Fault.CORRUPT): "what it keeps is in its database, and sessions are checked by TCP, or TLS",
    (Target.CONTROL, Fault.FULL): "what it writes is in its database: PostgreSQL, full",
    (
        Target.DATABASE,
        Fault.CORRUPT,
    ): "its own checksums tell; a damaged database is restored by its own means",
    (Target.NETWORK, Fault.KILL): "a dead network is a partition",
    (Target.NETWORK, Fault.STOP): "a stopped network is a partition",
    (
        Target.NETWORK,
        Fault.CORRUPT,
    ): "TCP drops changed packets, which is slow; what passes its checksum is what "
    "a corrupt origin and a corrupt parent send",
    (Target.NETWORK, Fault.FULL): "a full network is a slow one",
    (Target.NETWORK, Fault.CLOCK): "it has no clock",
    (Target.DISK, Fault.PARTITION): "a disk that does not answer is a stopped one",
    (Target.DISK, Fault.CLOCK): "times of files are the agent's clock: there",
    **{(Target.RDMA, fault): _RDMA for fault in Fault},
}

MEANS: dict[tuple[Target, Fault], str] = {
    (Target.AGENT, Fault.SLOW): "nine tenths of the time stopped",
    (Target.PARENT, Fault.SLOW): "nine tenths of the time stopped",
    (Target.CONTROL, Fault.SLOW): "nine tenths of the time stopped",
    (Target.DATABASE, Fault.SLOW): "nine tenths of the time stopped",
    (Target.ORIGIN, Fault.SLOW): "its link at 0.5 Mbit/s",
    (Target.REGISTRY, Fault.SLOW): "its link at 0.5 Mbit/s",
    (Target.NETWORK, Fault.SLOW): "the node's link at 0.5 Mbit/s",
    (Target.NETWORK, Fault.RESTART): "the interface down and up",
    (Target.ORIGIN, Fault.CORRUPT): "bytes of the weights changed in each 64 KiB on its disk",
    (Target.PARENT, Fault.CORRUPT): "bytes of the weights changed in each 64 KiB of its store",
    (Target.REGISTRY, Fault.CORRUPT): "a byte of the manifest changed on its disk",
    (
        Target.DISK,
        Fault.KILL,
    ): "EXT4_IOC_SHUTDOWN without a flush: all calls fail, what was not synced is lost; then mounted again",
    (Target.DISK, Fault.STOP): "frozen (FIFREEZE)",
    (Target.DISK, Fault.SLOW): "three quarters of the time frozen",
    (Target.DISK, Fault.CORRUPT): "bytes of the weights changed in each 64 KiB of the store",
    (Target.DISK, Fault.FULL): "a file that takes all that is free",
    (Target.DISK, Fault.RESTART): "the agent ended, the disk unmounted and mounted, the agent started",
    (Target.DATABASE, Fault.FULL): "a file that takes all that is free on its disk",
    **{
        (target, Fault.CLOCK): "CLOCK_REALTIME of the process two days forward or back"
        for target in (Target.AGENT, Target.PARENT, Target.CONTROL, Target.DATABASE)
    },
}
"""How it is done, where the fault's name does not say it."""

LASTS: dict[Fault, float] = {
    Fault.KILL: 0.7,
    Fault.STOP: 2.0,
    Fault.SLOW: 2.0,
    Fault.PARTITION: 2.5,
    Fault.CORRUPT: 1.0,
    Fault.FULL: 1.5,
    Fault.RESTART: 0.0,
    Fault.CLOCK: 1.0,
}
"""Seconds from a fault until it is healed."""

_NO_AGENT, _BAD_DISK, _FULL_DISK, _WRONG, _NO_CONTROL = 17, 12, 13, 10, 15
_NO_ORIGIN = (8, 9)  # it does not answer, or stops in mid-answer
_DAMAGED = 20

REASONS: dict[tuple[Target, Fault], frozenset[int]] = {
    **{(target, fault): frozenset() for target in (Target.AGENT, Target.PARENT) for fault in Fault},
    (Target.AGENT, Fault.KILL): frozenset({_NO_AGENT}),
    (Target.AGENT, Fault.RESTART): frozenset({_NO_AGENT}),
    (Target.PARENT, Fault.CORRUPT): frozenset({_WRONG}),
    **{(target, fault): frozenset(_NO_ORIGIN) for target in (Target.ORIGIN, Target.REGISTRY) for fault in Fault},
    (Target.ORIGIN, Fault.CORRUPT): frozenset({_WRONG}),
    (Target.REGISTRY, Fault.CORRUPT): frozenset({_WRONG}),
    **{(target, fault): frozenset({_NO_CONTROL}) for target in (Target.CONTROL, Target.DATABASE) for fault in Fault},
    **{(Target.NETWORK, fault): frozenset({*_NO_ORIGIN, _NO_CONTROL}) for fault in Fault},
    **{(Target.DISK, fault): frozenset() for fault in Fault},  # it waits
    (Target.DISK, Fault.KILL): frozenset({_BAD_DISK, _NO_AGENT}),
    (Target.DISK, Fault.RESTART): frozenset({_NO_AGENT}),
    (Target.DISK, Fault.CORRUPT): frozenset({_WRONG, _DAMAGED}),
    (Target.DISK, Fault.FULL): frozenset({_FULL_DISK}),
}
"""Exit codes by which `modeldist pull` would tell the truth about a fault; none: it has to get over it."""


@dataclass(frozen=True)
class Cell:
    target: Target
    fault: Fault
    moment: Moment

    @property
    def name(self) -> str:
        """Of its test: `agent-kill-9-mid-transfer`."""
        words = f"{self.target}-{self.fault}-{self.moment}"
        return words.replace("'", "").replace(" ", "-").replace("--", "-")

    @property
    def true_reasons(self) -> frozenset[int]:
        return REASONS[self.target, self.fault]


_FIRST = (Moment.MID_TRANSFER, Moment.RESOLVE)  # a run that is cut short has seen something of everything

CELLS = tuple(
    Cell(target, fault, moment)
    for moment in sorted(Moment, key=lambda moment: (moment not in _FIRST, list(Moment).index(moment)))
    for target in reversed(Target)
    for fault in Fault
    if (target, fault) not in MEANINGLESS
)
