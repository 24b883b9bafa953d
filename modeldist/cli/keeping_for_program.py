"""A model that a program was started with stays here as long as the program runs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from modeldist.agent.progress import PullSnapshot
from modeldist.agent.store.live import Live
from modeldist.agent.store.places import Places
from modeldist.agent.this_node import Node
from modeldist.artifact import Digest
from modeldist.errors import ModeldistError


def keep_for_program(here: Node, done: PullSnapshot) -> None:
    """By a lease that the program inherits, which this process is about to become. A store that cannot be written is
    used all the same."""
    with suppress(ModeldistError):
        agent = here.running_agent()
        store = Path(agent.status()["store"]) if agent else here.store
        shards = tuple(shard.digest for shard in done.shards)
        Live(Places(store).live).lease(map(Digest, shards), Digest(done.digest)).outlive()
