"""Bounds of what an agent may tell phase 1, so that one broken agent cannot exhaust the memory here."""

from __future__ import annotations

from modeldist.artifact import parse_digest
from modeldist.errors import ControlPlaneRefused, IntegrityError
from modeldist.scheduler.messages import Event, JoinTasks, TaskJoin
from modeldist.scheduler.pieces import PieceLayout, piece_size_for

LARGEST_SHARD = 1 << 46  # bytes, 64 TiB
MOST_LEASES = 4096  # held by one node on one task; far more than streams
MOST_PIECES = 1 << 22  # 64 TiB in pieces of 16 MiB
LONGEST_ORIGIN = 512  # characters


def check_event(event: Event) -> None:
    """Raises ControlPlaneRefused when a task that the node joins is out of bounds. Other events only concern tasks
    that were joined."""
    if isinstance(event, JoinTasks):
        for join in event.tasks:
            _check_join(join)


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


def _refused(message: str) -> ControlPlaneRefused:
    return ControlPlaneRefused(message, remedy="Report it as a bug of the agent.")
