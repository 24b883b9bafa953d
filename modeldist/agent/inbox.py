"""What the control plane says, carried to the part of the engine that it concerns. Loop thread only."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from modeldist.agent.node import Node
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.shards import Shards, two_sizes
from modeldist.artifact import Digest
from modeldist.errors import IntegrityError, Overloaded, Unsupported
from modeldist.logger import Logger
from modeldist.scheduler.messages import (
    LeaseFailed,
    LeaseGranted,
    LeaseRevoked,
    Measure,
    Parents,
    PieceDigest,
    PieceDigests,
    TaskJoined,
    TaskRefused,
    TaskReset,
)
from modeldist.scheduler.phase2.messages import (
    DigestsKnown,
    LeaseArrived,
    LeaseGone,
    ParentsChanged,
    TaskAdded,
    TaskRejoined,
)
from modeldist.scheduler.pieces import PieceSet
from modeldist.session.asking_again import SPREAD, AskingAgain
from modeldist.session.messages import CancelPull, FromControl, ReportEvery, StartPull, StoreCommand, Update

log = Logger(__name__)


class Inbox:
    """`start_pull` and `cancel_pull` are set by whoever runs pulls, `store_command` and `update` by whoever carries
    them out, `report_every` (seconds) by whoever reports, `offer_again` by whoever offers complete shards, `renewed` by
    whoever shows capabilities to parents, `measure` by whoever measures links."""

    def __init__(self, node: Node, shards: Shards) -> None:
        self._node = node
        self._shards = shards
        self.start_pull: Callable[[StartPull], None] = lambda _: None
        self.cancel_pull: Callable[[CancelPull], None] = lambda _: None
        self.store_command: Callable[[StoreCommand], None] = lambda _: None
        self.update: Callable[[Update], None] = lambda _: None
        self.report_every: Callable[[float], None] = lambda _: None
        self.offer_again: Callable[[Digest], None] = lambda _: None
        self.measure: Callable[[Measure], None] = lambda _: None
        self.renewed: Callable[[Digest, bytes], None] = lambda task, capability: None

    def receive(self, message: FromControl) -> None:  # noqa: PLR0912 - one arm per message
        node = self._node
        match message:
            case StartPull():
                self.start_pull(message)
            case CancelPull():
                self.cancel_pull(message)
            case StoreCommand():
                self.store_command(message)
            case Update():
                self.update(message)
            case Measure():
                self.measure(message)
            case ReportEvery(seconds):
                self.report_every(seconds)
            case TaskJoined():
                if fetch := node.fetches.get(message.task):
                    self._joined(fetch, message)
                else:  # a complete shard that this node offers: serve it in the swarm's pieces
                    node.store.directory().cut(message.task, message.piece_size)
            case TaskRefused(task, _, wait) if wait is not None:
                node.loop.spawn(self._join_later(task, wait), f"join {task} later")
            case TaskRefused():
                if (fetch := node.fetches.get(message.task)) and not fetch.ended:
                    error = two_sizes(f"{fetch.path} of {fetch.artifact.name}", fetch.shard, message.size)
                    node.loop.spawn(self._shards.end(fetch, error), f"refused {fetch.path}")
            case LeaseGranted():
                self._granted(message)
            case Parents() if node.live(message.task):
                others = tuple(parent for parent in message.parents if parent.node != node.store.node_id)
                node.apply(ParentsChanged(message.task, others, message.share, message.stripes))
            case LeaseRevoked() if node.live(message.task):
                node.apply(LeaseGone(message.task, message.lease))
            case PieceDigests():
                if fetch := node.live(message.task):
                    self._learn(fetch, message.digests)
            case TaskReset():
                if fetch := node.live(message.task):
                    node.loop.spawn(self._shards.restart(fetch, message.reason), "restart")
            case Parents() | LeaseRevoked():
                pass  # of a task that has just ended here
            case _:
                log.warning("unexpected message", message=type(message).__name__)

    def _under_way(self, task: Digest) -> ShardFetch | None:
        fetch = self._node.fetches.get(task)
        return fetch if fetch and not fetch.ended else None

    async def _join_later(self, task: Digest, wait: float) -> None:
        """The control plane has no room for this task now."""
        node, now = self._node, asyncio.get_running_loop().time()
        if (fetch := self._under_way(task)) is not None:
            fetch.turned_away = fetch.turned_away or AskingAgain(node.config.patience, now)
            full = no_room(f"{fetch.path} of {fetch.artifact.name}", wait)
            pause = fetch.turned_away.pause(full, now, random.random())
            if pause is None:
                await self._shards.end(fetch, full)
                return
        else:
            pause = wait * (1.0 + SPREAD * random.random())
        await asyncio.sleep(pause)
        if (fetch := self._under_way(task)) is not None:
            self._shards.join([fetch])
        elif task not in node.fetches:
            self.offer_again(task)

    def _joined(self, fetch: ShardFetch, message: TaskJoined) -> None:
        fetch.turned_away = None
        fetch.capability = message.capability
        if fetch.ended:
            return
        recut = message.piece_size != fetch.layout.piece_size
        if fetch.joined:
            if recut:
                self._node.loop.spawn(self._shards.rejoin(fetch), f"rejoin {fetch.path}")
            else:
                self.renewed(message.task, message.capability)
                self._node.apply(TaskRejoined(message.task))
            return
        if recut and fetch.ranges and not fetch.provisional:
            self._node.loop.spawn(self._shards.end(fetch, cut_otherwise(fetch)), f"cut otherwise {fetch.path}")
            return
        if recut:
            try:
                fetch.partial.recut(message.piece_size)
            except IntegrityError as error:
                about = error.about(f"{fetch.path} of {fetch.artifact.name}")
                self._node.loop.spawn(self._shards.end(fetch, about), f"cut otherwise {fetch.path}")
                return
            fetch.trust_again()
        if message.chunks:
            fetch.published.update(range(fetch.layout.count))
        fetch.joined = True
        only = fetch.wanted if fetch.ranges else PieceSet()
        self._node.apply(TaskAdded(message.task, fetch.layout, fetch.partial.have(), fetch.priority, only))
        if known := fetch.verifiable(fetch.layout.all):
            self._node.apply(DigestsKnown(message.task, known))
        self._node.wishes.begun(message.task)

    def _granted(self, message: LeaseGranted) -> None:
        if self._node.live(message.task):
            lease = LeaseArrived(message.task, message.lease, message.start, message.count, message.after)
            self._node.apply(lease)
            return
        unread = PieceSet.span(message.start, message.count).to_bytes()
        self._node.tell(LeaseFailed(message.task, message.lease, unread, "this node no longer fetches the shard"))

    def _learn(self, fetch: ShardFetch, digests: tuple[PieceDigest, ...]) -> None:
        for digest in digests:
            fetch.trusted.setdefault(digest.piece, digest.blake3)
            fetch.published.add(digest.piece)
        known = PieceSet.of(digest.piece for digest in digests)
        self._node.apply(DigestsKnown(fetch.shard.digest, known))


def no_room(thing: str, wait: float) -> Overloaded:
    return Overloaded(
        f"The control plane has no room for {thing} now.",
        remedy="Pull again later: what is here stays.",
        retry_after=wait,
    )


def cut_otherwise(fetch: ShardFetch) -> Unsupported:
    """The swarm's pieces are not those that the chunk table proves."""
    return Unsupported(
        f"Other nodes fetch {fetch.path} of {fetch.artifact.name} in other pieces than those of its chunk table, so "
        "parts of it cannot be proven.",
        remedy="Pull again when their pulls have ended, or pull the whole file.",
    )
