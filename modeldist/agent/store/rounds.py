"""How far the reading again of everything is."""

from __future__ import annotations

import msgspec

from modeldist.artifact import Digest


class Round(msgspec.Struct, frozen=True):
    """One round: when it began and ended (seconds since the epoch), what was read so far, up to which shard. `wanting`
    are artifacts of which something was withdrawn, and is not here again."""

    began: float = 0.0
    ended: float = 0.0
    after: str = ""
    shards: int = 0
    bytes: int = 0
    damaged: int = 0
    wanting: tuple[Digest, ...] = ()

    @property
    def running(self) -> bool:
        return self.began > self.ended
