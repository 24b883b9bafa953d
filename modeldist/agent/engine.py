"""The node's engine: carries events to phase 2 and carries out what it says.

Everything here and in the parts it owns runs on one asyncio loop, so no state needs a lock. Threads (piece transfers,
origin reads, hashing) come back through `Loop.post`. Decisions are phase 2's (which piece from whom) and phase 1's
(leases, candidates); the engine only does them:

    Pulls ── resolve ──▶ SessionKeeper ──▶ control plane
      └─ Shards.fetch_all ── JoinTasks ──▶ … ──▶ Inbox ──▶ phase 2 ──▶ PeerFetches │ LeaseReads ──▶ Verifier ──▶ Partial
                                                              └── all pieces ──▶ Publisher ──▶ store
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from modeldist import __version__
from modeldist.agent.config import EngineConfig
from modeldist.agent.giving_way import GivingWay
from modeldist.agent.inbox import Inbox
from modeldist.agent.lease_reads import LeaseReads
from modeldist.agent.link_rate import LinkRates
from modeldist.agent.node import Loop, Node
from modeldist.agent.offers import Offers
from modeldist.agent.parents import Parents
from modeldist.agent.peer_fetch import PeerFetches
from modeldist.agent.reader_pool import ReaderPool, Readers
from modeldist.agent.reporter import Meter, Reporter, Unmeasured
from modeldist.agent.session_keeper import SessionKeeper
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.shards import Shards
from modeldist.agent.store import Store
from modeldist.agent.time_spent import TimeSpent
from modeldist.agent.verify import Verifier
from modeldist.agent.whole_reads import WholeReads
from modeldist.artifact import Digest
from modeldist.errors import Cancelled, ModeldistError
from modeldist.explain import Around
from modeldist.scheduler.messages import Behind, JoinTasks, LeaseFailed, LeaseRequest, LeaveTasks, Priority
from modeldist.scheduler.phase2 import Phase2, Phase2Config
from modeldist.scheduler.phase2 import messages as p2
from modeldist.scheduler.pieces import PieceSet
from modeldist.session.link import ControlLink
from modeldist.session.messages import OLDEST_PROTOCOL, PROTOCOL, FromControl, Hello, Inventory, Welcome
from modeldist.tracing import active
from modeldist.transfer.base import PieceServer, Transport
from modeldist.transfer.rate_limit import RateLimit

TICK = 0.1  # seconds between phase 2's ticks
SMALL_LEASES = 64  # read in a row; enough for a thread not to wait for the loop
_MORE_THAN_A_LINK = 1.1  # of one: what came over loopback is counted too
RENEW = 1200.0  # seconds between re-joins of open tasks, which renew their capabilities (valid a day)
FAREWELL = 5.0  # seconds for what is to be told before a node leaves


class Engine:
    """One node. `start()`, then pull with `agent.pulls.Pulls`, then `close()`.

    `server` serves pieces, `address` is where other nodes reach it (empty: this node serves nobody). By `measuring`
    links are measured (None: not from here, and `server` need not have the link shard).
    """

    def __init__(
        self,
        store: Store,
        link: ControlLink,
        readers: Readers,
        transport: Transport,
        *,
        server: PieceServer | None = None,
        address: str = "",
        measuring: Transport | None = None,
        config: EngineConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.store = store
        self.config = config or EngineConfig()
        self.server = server
        self.on_welcome: Callable[[Welcome], None] = lambda _: None
        self.rdma_missing: Callable[[], str] = str
        """Why there is none though it was asked for; empty where nothing is missing."""
        self.on_open: Callable[[Welcome], None] = lambda _: None
        """Called when all was joined again that is fetched and offered here."""
        self.all_named = True
        """Whether what this node fetches and offers is joined. Until then it does not report, which would say so."""
        self._address = address
        self._measures = measuring is not None and bool(address)
        self._clock = clock
        rng = rng or random.Random()
        self._instance = secrets.token_hex(16)
        limits = Phase2Config(
            origin_streams=self.config.origin_streams,
            small_leases=SMALL_LEASES,
            download_rate=self.config.download_rate,
        )
        self._phase2 = Phase2(limits, rng)
        self._events: deque[p2.Event] = deque()
        self._applying = False
        self._draining = False
        self._offers = Offers(store)
        self._reporter = Reporter(_meter(self.config, clock), clock)
        self._report_soon = asyncio.Event()
        self._report_now = asyncio.Event()
        self._loop = Loop()
        self.session = SessionKeeper(
            link,
            self._hello,
            self._session_open,
            self._on_message,
            rng,
            busy=lambda: bool(self.node.fetches),
            patience=self.config.patience,
        )
        self.node = Node(store, self.config, self._loop, self._apply, self.session.post, self._phase2.leases)
        peer_fetches, shards, lease_reads = self._parts()
        self._verifier = Verifier(self.config.verify_threads)
        self._parents = Parents(transport, store.node_id, self._loop.post, self._apply)
        self._peer_fetches = peer_fetches(self.node, self._parents, self._verifier, clock, fail=self._fail)
        self._readers = ReaderPool(readers)
        rate = RateLimit(self.config.download_rate, time.monotonic)
        self._way = GivingWay(self.config.one_stream_enough, clock)
        self._whole = WholeReads(self.node, self._readers, self.config.origin_streams, rate)
        self.shards = shards(self.node, self._parents, self._readers, self._whole, self._completed)
        self._leases = lease_reads(
            self.node,
            self._readers,
            self._verifier,
            self._parents,
            rate,
            fail=self._fail,
            report_soon=self._report_soon.set,
            at_rest=self._at_rest,
        )
        self.shards.leases = self._leases
        self.time = TimeSpent(
            self.node,
            self._leases,
            self._whole,
            self._parents,
            held_back=lambda: self._phase2.held_back(clock()),
            connected=lambda: self.session.connected,
            serving=lambda: self.server.load().requests if self.server else 0,
            upload_limit=self.config.upload_rate,
            clock=clock,
        )
        self.inbox = Inbox(self.node, self.shards)
        self.inbox.report_every = self._report_every
        self.inbox.renewed = self._parents.renew
        self.inbox.offer_again = self._offer_again
        if measuring is not None:
            self.inbox.measure = LinkRates(self.node, measuring, clock).measure

    def _parts(self) -> tuple[Callable[..., PeerFetches], Callable[..., Shards], Callable[..., LeaseReads]]:
        """Those that tell spans where traces are recorded now."""
        if not active():
            return PeerFetches, Shards, LeaseReads
        from modeldist.agent.traced import TracedLeaseReads, TracedPeerFetches, TracedShards
        from modeldist.agent.traces import Traces

        self.node.traces = traces = Traces()
        return partial(TracedPeerFetches, traces), partial(TracedShards, traces), partial(TracedLeaseReads, traces)

    async def start(self) -> None:
        self._loop.start()
        if self._address:
            await asyncio.to_thread(self._offers.find)
        self._loop.spawn(self.session.run(), "session", vital=True)
        self._loop.spawn(self._ticks(), "ticks", vital=True)
        self._loop.spawn(self._renewals(), "renewals", vital=True)
        if not self.config.alone:
            self._loop.spawn(self._reports(), "reports", vital=True)

    async def drain(self, within: float) -> None:
        """Ask the origin for nothing more; return when what is being read from there is here and told, or after
        `within` seconds. Pieces go on to come from other nodes, and to go to them."""
        self._draining = True
        for lease in self._phase2.unbegun_leases():
            unread = PieceSet.span(lease.start, lease.count).to_bytes()
            self._apply(p2.LeaseGone(lease.task, lease.lease))
            self.session.post(LeaseFailed(lease.task, lease.lease, unread, "this node restarts"))
        for fetch in self.node.fetches.values():
            self.session.post(LeaseRequest(fetch.shard.digest, 0))
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while any(self._reads(fetch) for fetch in self.node.fetches.values()):
                    self._report_soon.set()
                    await asyncio.sleep(TICK)
        await self.session.said(FAREWELL)

    def go_on(self) -> None:
        """As before `drain`."""
        self._draining = False

    def _reads(self, fetch: ShardFetch) -> bool:
        return bool(fetch.reads or fetch.verified or self.node.leases(fetch.shard.digest))

    async def leave(self) -> None:
        """End the session for good, before what is here ends: nobody is told that it does. Then `close`."""
        await self.session.close()

    async def close(self) -> None:
        """Stop everything; partial files stay for the next time."""
        for fetch in list(self.node.fetches.values()):
            await self.shards.end(fetch, Cancelled("The agent is stopping.", remedy="Pull again to resume."))
        await self._loop.close()
        await self._parents.close()
        await asyncio.to_thread(self._whole.close)
        await asyncio.to_thread(self._leases.close)
        self._readers.close()
        await asyncio.to_thread(self._verifier.close)

    @property
    def bytes_in_flight(self) -> int:
        """Asked of other nodes, and not here."""
        return self._peer_fetches.bytes_in_flight

    def address_of(self, parent: str) -> str:
        """host:port; empty where that is not known (any more)."""
        return self._parents.address_of(parent)

    def around(self) -> Around:
        """This node now, for who explains its pulls."""
        load, error = self._reporter.load, self.session.last_error
        link = load.nic_rx / load.nic_speed if load.nic_rx is not None and load.nic_speed else None
        if link is not None and link > _MORE_THAN_A_LINK:
            link = None
        return Around(
            link=link,
            link_speed=load.nic_speed if link is not None else None,
            disk=load.disk_busy,
            cpu=load.cpu_busy,
            download_limit=self.config.download_rate,
            control="" if self.session.connected or error is None else str(error),
            rdma=self.rdma_missing(),
        )

    @property
    def origin_reads(self) -> int:
        """Leases that are being read."""
        return sum(map(len, self._leases.progress().values()))

    # --- phase 2 ---

    def _apply(self, event: p2.Event) -> None:
        """Hand an event to phase 2 and do what it says, in order, also when doing it brings new events."""
        self._events.append(event)
        if self._applying:
            return
        self._applying = True
        try:
            while self._events:
                for instruction in self._phase2.handle(self._events.popleft(), self._clock()):
                    self._do(instruction)
        finally:
            self._applying = False

    def _do(self, instruction: p2.Instruction) -> None:
        match instruction:
            case p2.Connect(node, address):
                self._parents.connect(node, address)
            case p2.Disconnect(node):
                self._parents.disconnect(node)
            case p2.Unsubscribe(task, node):
                self._parents.unsubscribe(node, task)
            case p2.StopLease(task, lease):
                self._leases.stop(task, lease)
            case p2.RequestLease(task, pieces, out_of_reach, first):
                if out_of_reach and (fetch := self.node.fetches.get(task)):
                    fetch.note(
                        f"No node that holds {fetch.path} serves it to this one; it may be read from the origin."
                    )
                if self._draining:
                    return
                if self.node.traces is not None:
                    self.node.traces.wants_lease(task, pieces, out_of_reach=bool(out_of_reach))
                self.session.post(LeaseRequest(task, pieces, out_of_reach.to_bytes(), first))
            case p2.TellBehind(task, node):
                self.session.post(Behind(task, node))
            case _:
                if fetch := self.node.fetches.get(instruction.task):
                    self._do_with(fetch, instruction)

    def _do_with(
        self, fetch: ShardFetch, instruction: p2.Subscribe | p2.FetchFromPeer | p2.ReadLease | p2.TaskComplete
    ) -> None:
        match instruction:
            case p2.Subscribe(task, node):
                self._parents.subscribe(node, task, fetch.capability)
            case p2.FetchFromPeer(_, piece, node, awaited):
                fetch.from_peers = True
                self._peer_fetches.start(fetch, piece, node, awaited=awaited)
            case p2.ReadLease(_, lease, start, count):
                self._leases.start(fetch, lease, start, count)
            case p2.TaskComplete():
                self.shards.complete(fetch)

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._apply(p2.Tick())
            self._leases.tick()
            self._way.look(self._leases.bytes_read, reading=not self._leases.idle)
            self._whole.tick(give_way=self._way.now)
            self.time.look()

    def _at_rest(self) -> None:
        """Nothing is read under a lease."""
        self._report_now.set()
        self._way.look(self._leases.bytes_read, reading=False)
        self._whole.go_on()

    # --- shards that end ---

    def _completed(self, fetch: ShardFetch) -> None:
        self._offers.add(fetch.shard)
        if not self.config.alone:
            self._reporter.completed(fetch)
            self._report_soon.set()

    def _fail(self, fetch: ShardFetch, error: ModeldistError) -> None:
        self._loop.spawn(self.shards.end(fetch, error), f"fail {fetch.path}")

    def forget_missing(self) -> None:
        """Shards may have left the store: stop offering those that did."""
        if gone := self._offers.drop_missing():
            self.session.post(LeaveTasks(gone))
            self.announce()

    # --- the session ---

    def _hello(self) -> Hello:
        return Hello(
            protocol=PROTOCOL,
            oldest=OLDEST_PROTOCOL,
            node=self.store.node_id,
            name=self.config.name or self.store.node_id[:12],
            version=__version__,
            address=self._address,
            location=self.config.location,
            labels=self.config.labels,
            artifacts=self._complete_artifacts(),
            instance=self._instance,
            updates=True,
            measures=self._measures,
        )

    def _complete_artifacts(self) -> tuple[Digest, ...]:
        return tuple(stored.artifact.digest for stored in self.store.artifacts() if stored.snapshot)

    def announce(self) -> None:
        """The set of artifacts held complete has changed."""
        if self._address:
            self.session.post(Inventory(self._complete_artifacts()))

    async def _session_open(self, welcome: Welcome) -> None:
        self._reporter.interval = welcome.report_interval
        self.on_welcome(welcome)
        for fetch in self.node.fetches.values():
            fetch.have_changed = True
        self.shards.join(self.node.fetches.values())
        if self._address and (offers := tuple(self._offers.joins())):
            self.session.post(JoinTasks(offers, Priority.PREFETCH))
        self._report_soon.set()  # the first report says that this was all
        self.on_open(welcome)

    def named(self) -> None:
        """From now on all is joined; see `all_named`."""
        self.all_named = True
        self._report_soon.set()

    def _offer_again(self, shard: Digest) -> None:
        if (join := self._offers.join(shard)) is not None:
            self.session.post(JoinTasks((join,), Priority.PREFETCH))

    def _report_every(self, seconds: float) -> None:
        self._reporter.interval = seconds

    def _on_message(self, message: FromControl) -> None:
        self.inbox.receive(message)

    async def _renewals(self) -> None:
        while True:
            await asyncio.sleep(RENEW)
            self.shards.join(self.node.fetches.values())

    async def _reports(self) -> None:
        """One report an interval, if there is news; sooner when pieces read from the origin wait to be made known: at
        once, unless there was one a moment ago, and something is left to read that may come along."""
        sent = float("-inf")
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._report_soon.wait(), self._reporter.interval)
                if (wait := sent + self._reporter.coalesce - self._clock()) > 0:
                    await asyncio.wait_for(self._report_now.wait(), wait)
            sent = self._clock()
            asked = self._report_soon.is_set()
            self._report_soon.clear()
            self._report_now.clear()
            if not self.session.connected or not self.all_named:
                continue
            fetches = [fetch for fetch in self.node.fetches.values() if fetch.joined]
            report = self._reporter.report(
                fetches,
                self._leases.progress(),
                bytes_in_flight=self.bytes_in_flight,
                queue=self.server.load().requests if self.server else 0,
                asked=asked,
                uploads=self.time.uploads,
            )
            if report is not None:
                self.session.post(report)


def _meter(config: EngineConfig, clock: Callable[[], float]) -> Meter:
    if not config.measure_load:
        return Unmeasured()
    from modeldist.agent.load import LoadMeter  # whose library takes longer to import than most of the engine

    return LoadMeter(clock)
