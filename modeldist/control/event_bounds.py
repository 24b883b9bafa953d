"""Bounds of what an agent may tell phase 1, so that one broken or lying agent neither exhausts the memory here nor puts
numbers into the scheduler that are none: a rate that is not a number, once added up, stays in every sum after it."""

from __future__ import annotations

import math

from modeldist.artifact import parse_digest
from modeldist.errors import ControlPlaneRefused, IntegrityError
from modeldist.scheduler.messages import (
    Event,
    JoinTasks,
    Load,
    Measured,
    ParentReport,
    Report,
    TaskJoin,
    TaskReport,
)
from modeldist.scheduler.pieces import PieceLayout, piece_size_for

LARGEST_SHARD = 1 << 46  # bytes, 64 TiB
MOST_LEASES = 4096  # held by one node on one task; far more than streams
MOST_PIECES = 1 << 22  # 64 TiB in pieces of 16 MiB
LONGEST_ORIGIN = 512  # characters
LONGEST_REPORT = 7 * 86400.0  # seconds in which requests were out, at most
MOST_FAILURES = 1_000_000  # of one parent in one report; no child asks so often
FASTEST = 1e12  # bytes/s; ten times what a node's fastest link does


def check_event(event: Event) -> None:
    """Raises ControlPlaneRefused when a task that the node joins, or what it reports, is out of bounds. Other events
    only concern tasks that were joined."""
    if isinstance(event, JoinTasks):
        for join in event.tasks:
            _check_join(join)
    elif isinstance(event, Report):
        _check_load(event.load)
        for task in event.tasks:
            _check_report(task)
    elif isinstance(event, Measured) and event.rate is not None and not 0 <= event.rate <= FASTEST:
        raise _refused("A link cannot have been measured as that fast.")


def _check_join(join: TaskJoin) -> None:
    try:
        parse_digest(join.task)
    except IntegrityError as error:
        raise _refused(error.message) from None
    if not 0 <= join.size <= LARGEST_SHARD:
        raise _refused(f"{join.task}: a shard of {join.size} bytes cannot be distributed.")
    if join.piece_size < 0:
        raise _refused(f"{join.task}: pieces of {join.piece_size} bytes make no sense.")
    if PieceLayout(join.size, join.piece_size or piece_size_for(join.size)).count > MOST_PIECES:
        raise _refused(f"{join.task}: pieces of {join.piece_size} bytes are too small for {join.size} bytes.")
    if len(join.origin) > LONGEST_ORIGIN:
        raise _refused(f"{join.task}: the name of its origin is longer than {LONGEST_ORIGIN} characters.")
    if any(digest.piece < 0 or len(digest.blake3) != 32 for digest in join.digests):
        raise _refused(f"{join.task}: a piece digest is malformed.")
    if len(join.leases) > MOST_LEASES:
        raise _refused(f"{join.task}: a node cannot hold {len(join.leases)} leases on it.")


def _check_load(load: Load) -> None:
    rates = (load.nic_rx, load.nic_tx, load.nic_speed, load.bytes_in_flight, load.queue, load.disk_busy, load.cpu_busy)
    if not all(rate is None or 0 <= rate < math.inf for rate in rates):  # what is no number fails, too
        raise _refused("The load of a report is no load: negative, or not a number.")
    if load.nic_speed is not None and load.nic_speed > FASTEST:
        raise _refused(f"A line rate of {load.nic_speed:.3g} bytes/s is beyond what there is.")


def _check_report(report: TaskReport) -> None:
    if report.have is not None and len(report.have) > MOST_PIECES // 8:
        raise _refused(f"{report.task}: a report of {len(report.have)} bytes of pieces is too long.")
    if any(len(digest.blake3) != 32 for digest in report.verified):
        raise _refused(f"{report.task}: a piece digest is malformed.")
    if not all(0 <= read <= LARGEST_SHARD for read in report.lease_bytes.values()):
        raise _refused(f"{report.task}: what was read under a lease cannot be so much.")
    for parent in report.parents:
        _check_parent(report, parent)


def _check_parent(report: TaskReport, parent: ParentReport) -> None:
    fair = (
        0 <= parent.bytes <= LARGEST_SHARD
        and 0 <= parent.seconds <= LONGEST_REPORT
        and 0 <= parent.failures <= MOST_FAILURES
        and parent.busy >= 0
    )
    if not fair:
        raise _refused(f"{report.task}: what is said of node {parent.node[:64]!r} cannot have happened.")


def _refused(message: str) -> ControlPlaneRefused:
    return ControlPlaneRefused(message, remedy="Report it as a bug of the agent.")
