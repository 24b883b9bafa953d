"""Piece digests proven wrong by a shard's own digest: who has to start again.

Every piece matched its digest and the shard does not: one of the digests is a lie or an accident, and there is no
telling which. So all digests are forgotten and everyone who has not proven its copy starts again. But a single node
whose disk or memory is broken must not make the swarm start again for ever.
"""

from __future__ import annotations

from enum import Enum

from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.swarm import Member, Swarm


class Verdict(Enum):
    IGNORE = "ignore"  # it speaks of digests that are forgotten already
    NODE = "node"  # only this node starts again
    EVERYONE = "everyone"


def judge(swarm: Swarm, member: Member, config: Phase1Config, now: float) -> Verdict:
    """What a ShardRejected of `member` means. Counts it."""
    if now - member.reset_at < config.reset_window:
        return Verdict.IGNORE
    member.rejections += 1
    others = [other for other in swarm.members.values() if other is not member]
    others_reject = any(other.rejections for other in others)
    proven = any(_proven(swarm, other, config, now) for other in others)
    alone = (proven or member.rejections > 1) and not others_reject
    if alone or swarm.resets >= config.max_resets:
        return Verdict.NODE
    return Verdict.EVERYONE


def _proven(swarm: Swarm, member: Member, config: Phase1Config, now: float) -> bool:
    """Its copy matched the shard's own digest: that is known of it from the start, or it had the time to find out."""
    return member.have == swarm.all and (member.seed or now - member.completed > config.proof_seconds)
