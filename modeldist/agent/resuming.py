"""Pulls that go on in the next process: written down by an agent that restarts, begun again by the one that follows.

It names what it fetches before it says that this is all (`Engine.all_named`): the control plane would take what this
node holds for lost, and have it read from the origin again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from modeldist.agent.engine import Engine
from modeldist.agent.progress import FINAL
from modeldist.agent.pull import Pull
from modeldist.agent.pulls import Pulls
from modeldist.agent.store.atomic import write_atomically
from modeldist.errors import UNDECODABLE, ModeldistError
from modeldist.logger import Logger
from modeldist.scheduler.messages import Priority

log = Logger(__name__)

FILE = "resuming.json"  # in the store's root
NAMED_WITHIN = 20.0  # seconds from the start, after which what is not joined is lost
_LOOK = 0.05


class _Begun(msgspec.Struct, frozen=True):
    pull: str
    reference: str
    priority: Priority
    offline: bool = False


def write_down(store: Path, pulls: Sequence[Pull]) -> None:
    """Raises OSError."""
    begun = [_Begun(pull.id, pull.reference, pull.priority, pull.offline) for pull in pulls if type(pull) is Pull]
    write_atomically(store / FILE, msgspec.json.encode(begun), tmp=store, durable=True)


def resume(store: Path, engine: Engine, pulls: Pulls) -> None:
    """Begin again what was written down, if anything was. When the engine has just started: no session is open yet."""
    try:
        begun = msgspec.json.decode((store / FILE).read_bytes(), type=list[_Begun])
    except FileNotFoundError:
        return
    except (OSError, *UNDECODABLE) as error:
        log.warning("what this agent did before cannot be read", file=str(store / FILE), error=str(error))
        return
    engine.all_named = not begun
    resumed = []
    for one in begun:
        try:
            resumed.append(pulls.start(one.reference, priority=one.priority, pull=one.pull, offline=one.offline))
        except ModeldistError as error:
            log.warning("a pull cannot go on", reference=one.reference, error=str(error))
    log.info("pulls go on", pulls=len(resumed))
    engine.node.loop.spawn(_named(store, engine, resumed), "pulls go on")


async def _named(store: Path, engine: Engine, pulls: Sequence[Pull]) -> None:
    try:
        async with asyncio.timeout(NAMED_WITHIN):
            while not all(_is_named(engine, pull) for pull in pulls):  # noqa: ASYNC110 - of several rooms
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        log.warning("some pulls do not go on yet", waited=NAMED_WITHIN)
    engine.named()
    (store / FILE).unlink(missing_ok=True)


def _is_named(engine: Engine, pull: Pull) -> bool:
    """Whether it is over, or all that it fetches now is joined."""
    if pull.state in FINAL or pull.state in ("waiting", "materialising"):
        return True
    if pull.state != "pulling" or pull.artifact is None:
        return False
    fetches = [engine.node.fetches.get(shard.digest) for shard in pull.artifact.shards]
    begun = [fetch for fetch in fetches if fetch is not None]
    return bool(begun) and all(fetch.joined or fetch.ended for fetch in begun)
