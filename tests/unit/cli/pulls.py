"""Pulls as the agent would tell of them."""

from __future__ import annotations

from typing import Any

from modeldist.agent.progress import PullSnapshot, ShardProgress
from modeldist.artifact import Digest

GB = 10**9


def shard(path: str, size: int, *, origin: int = 0, peers: int = 0, local: int = 0) -> ShardProgress:
    done = origin + peers + local
    digest = Digest("sha256:" + path.encode().hex().ljust(64, "0")[:64])
    return ShardProgress(path, digest, size, done, origin, peers, local, complete=done == size)


def pull(*shards: ShardProgress, **about: Any) -> PullSnapshot:
    given: dict[str, Any] = {
        "pull": "0123456789abcdef",
        "reference": "org/model:v1",
        "state": "pulling",
        "seconds": 10.0,
    }
    return PullSnapshot(
        **{
            **given,
            "size": sum(each.size for each in shards),
            "origin": sum(each.origin for each in shards),
            "peers": sum(each.peers for each in shards),
            "local": sum(each.local for each in shards),
            "shards": shards,
            **about,
        }
    )
