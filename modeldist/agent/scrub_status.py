"""What an agent says of its scrubbing, apart from what does it: the command line imports it too."""

from __future__ import annotations

import msgspec

from modeldist.agent.store.rounds import Round


class ScrubStatus(msgspec.Struct, frozen=True):
    """A round `every` so many seconds. `total`: bytes that one reads, 0 where none was begun since the agent started.
    `waiting`: the node has better things to do."""

    every: float
    round: Round
    total: int = 0
    waiting: bool = False
