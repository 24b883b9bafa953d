"""Links measured between real engines over real TCP piece servers, and by one node from parents that misbehave."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from modeldist.agent.config import EngineConfig
from modeldist.agent.link_rate import LinkRates
from modeldist.control.inprocess import InProcessControl
from modeldist.scheduler.messages import Measure, Measured
from modeldist.scheduler.phase1 import Phase1, Phase1Config
from modeldist.scheduler.phase1.views import NodeView
from modeldist.session.messages import FromAgent
from modeldist.transfer import frames
from modeldist.transfer.base import ServerLimits
from modeldist.transfer.capability import CapabilityChecker, CapabilityIssuer, new_private_key
from modeldist.transfer.link_shard import LINK_BYTES, LINK_PIECE, LINK_SHARD, content
from modeldist.transfer.tcp import TcpTransport
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, EngineNode, assert_right, model, until
from tests.unit.transfer.bad_parent import BadParent, Parents, Script, bad_parents


def test_the_link_shard_is_what_its_digest_says() -> None:
    assert f"sha256:{hashlib.sha256(content()).hexdigest()}" == LINK_SHARD
    assert len(content()) == LINK_BYTES


async def test_idle_nodes_learn_whose_link_is_slow(cluster: EngineCluster) -> None:
    """With real capabilities: a node that only shows that it is one may not fetch anything, not even this."""
    phase1 = Phase1(Phase1Config(restart_grace=0.0), random.Random(1))
    issuer = CapabilityIssuer(new_private_key(), time.time)
    cluster.control = InProcessControl(cluster.origin, time.monotonic, scheduler=phase1, capabilities=issuer)
    check = CapabilityChecker(issuer.public_key, time.time)
    slow_up = ServerLimits(upload_rate=4.0 * MIB)
    slow_down = EngineConfig(name="down", download_rate=4.0 * MIB)
    async with AsyncExitStack() as stack:
        nodes = {
            "up": await stack.enter_async_context(cluster.node("up", limits=slow_up, check=check, measures=True)),
            "down": await stack.enter_async_context(cluster.node("down", config=slow_down, check=check, measures=True)),
        }
        for name in ("a", "b", "c"):
            nodes[name] = await stack.enter_async_context(cluster.node(name, check=check, measures=True))

        def views() -> dict[str, NodeView]:
            found = {view.node: view for view in phase1.nodes(time.monotonic())}
            return {name: found[node.store.node_id] for name, node in nodes.items()}

        await until(lambda: len(phase1.nodes(0.0)) == 5 and all(view.link_age is not None for view in views().values()))
        measured = views()
        for name, view in measured.items():
            assert view.link_sends is not None and view.link_receives is not None
            assert (view.link_sends < 8 * MIB) == (name == "up")
            assert (view.link_receives < 8 * MIB) == (name == "down")
        for node in nodes.values():
            assert not node.store.artifacts()


async def test_a_pull_is_right_beside_measuring(cluster: EngineCluster) -> None:
    files = model(8 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(cluster.node(name, measures=True)) for name in "abcd"]
        for node in nodes:
            for other in nodes:
                node.engine.inbox.measure(Measure(1, other.store.node_id, other.server.address))
        pulls = [node.pulls.start(REFERENCE) for node in nodes]
        for node, pull in zip(nodes, pulls, strict=True):
            assert_right(await node.pulls.wait(pull), files)
        cluster.assert_read_once(artifact)


# --- one node, and a parent that is not as it should be ------------------------------------------------------------


@pytest.fixture
def parents() -> Iterator[Parents]:
    yield from bad_parents()


@dataclass
class Measuring:
    """A node whose answers are kept."""

    node: EngineNode
    answers: list[Measured]
    links: LinkRates

    async def rate(self, address: str, *, parent: str = "parent") -> float | None:
        number = random.randrange(1 << 30)
        self.links.measure(Measure(number, parent, address))
        await until(lambda: any(answer.number == number for answer in self.answers), 10.0)
        (answer,) = [answer for answer in self.answers if answer.number == number]
        return answer.rate


@asynccontextmanager
async def measuring(cluster: EngineCluster, *, config: EngineConfig | None = None) -> AsyncIterator[Measuring]:
    async with cluster.node("child", config=config) as node:
        answers: list[Measured] = []

        posts = node.engine.node.tell

        def tell(message: FromAgent) -> None:
            if isinstance(message, Measured):
                answers.append(message)
            else:
                posts(message)

        node.engine.node.tell = tell
        transport = TcpTransport(connect_timeout=0.5)
        yield Measuring(node, answers, LinkRates(node.engine.node, transport, time.monotonic))


ALL = b"\x0f"  # bitmap of the link shard's pieces


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_the_rate_is_that_of_the_link(cluster: EngineCluster) -> None:
    async with measuring(cluster) as child:
        for rate in (1.0 * MIB, 16.0 * MIB):
            async with cluster.node(f"parent {rate}", limits=ServerLimits(upload_rate=rate)) as parent:
                measured = await child.rate(parent.server.address, parent=parent.store.node_id)
                assert measured is not None
                assert rate / 2 < measured < rate * 2


async def test_a_parent_that_is_busy_with_us_is_measured_once_at_a_time(cluster: EngineCluster) -> None:
    async with measuring(cluster) as child, cluster.node("p", limits=ServerLimits(upload_rate=4.0 * MIB)) as parent:
        for number in (1, 2):
            child.links.measure(Measure(number, parent.store.node_id, parent.server.address))
        await until(lambda: len(child.answers) == 2)
        assert child.answers[0] == Measured(2)
        assert child.answers[1].number == 1 and child.answers[1].rate is not None


async def test_nobody_listens(cluster: EngineCluster) -> None:
    async with measuring(cluster) as child:
        assert await child.rate("127.0.0.1:1") is None


async def test_a_parent_that_does_not_take_the_capability(cluster: EngineCluster) -> None:
    async with measuring(cluster) as child, cluster.node("p", check=lambda *_: False) as parent:
        assert await child.rate(parent.server.address, parent=parent.store.node_id) is None


def silent(parent: BadParent) -> None:
    parent.hear(frames.Goodbye)


def greets(parent: BadParent) -> frames.Subscribe:
    parent.hear(frames.Hello)
    parent.say(frames.MAGIC + frames.encode(frames.HelloOk(frames.VERSION, "parent")))
    return parent.hear(frames.Subscribe)


def has_nothing(parent: BadParent) -> None:
    parent.say(frames.encode(frames.Have(greets(parent).subscription, 0, b"")))
    parent.hear(frames.Goodbye)


def says_nothing_of_it(parent: BadParent) -> None:
    greets(parent)
    parent.hear(frames.Goodbye)


def refuses(parent: BadParent) -> None:
    parent.say(frames.encode(frames.Have(greets(parent).subscription, 0, ALL)))
    while True:
        parent.say(frames.encode(frames.Refused(parent.hear(frames.Request).request, "no")))


def hangs_up(parent: BadParent) -> None:
    parent.say(frames.encode(frames.Have(greets(parent).subscription, 0, ALL)))
    parent.hear(frames.Request)


@pytest.mark.parametrize("script", [silent, has_nothing, says_nothing_of_it, refuses, hangs_up])
async def test_a_parent_of_which_nothing_can_be_said(cluster: EngineCluster, parents: Parents, script: Script) -> None:
    async with measuring(cluster) as child:
        parent = parents(script)
        before, threads = descriptors(), threading.active_count()
        assert await child.rate(parent.address) is None
        await until(lambda: descriptors() <= before and threading.active_count() <= threads)


@pytest.mark.parametrize("sends", range(4))
async def test_a_parent_that_stalls_is_slow_however_fast_it_began(
    cluster: EngineCluster, parents: Parents, sends: int
) -> None:
    def stalls(parent: BadParent) -> None:
        parent.say(frames.encode(frames.Have(greets(parent).subscription, 0, ALL)))
        for request in [parent.hear(frames.Request) for _ in range(4)][:sends]:
            parent.say(frames.encode_body_header(request.request, LINK_PIECE, last=True) + content()[:LINK_PIECE])
        parent.hear(frames.Goodbye)

    async with measuring(cluster) as child:
        rate = await child.rate(parents(stalls).address)
        assert rate is not None and rate < 1 * MIB


@pytest.mark.parametrize("address", ["..:80", f"{'a' * 70}.example:80", "nowhere", "127.0.0.1:port", "127.0.0.1:99999"])
async def test_an_address_that_is_none(cluster: EngineCluster, address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with measuring(cluster) as child:
        assert await child.rate(address) is None
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("asks", [False, True], ids=["before it is known what the other has", "while pieces are out"])
async def test_an_agent_that_stops_meanwhile_leaves_nothing_behind(
    cluster: EngineCluster, parents: Parents, *, asks: bool
) -> None:
    async with measuring(cluster):
        pass  # what is made once in a process is made
    ready = threading.Event()

    def stalls_from_now(parent: BadParent) -> None:
        subscribed = greets(parent)
        if asks:
            parent.say(frames.encode(frames.Have(subscribed.subscription, 0, ALL)))
            parent.hear(frames.Request)
        ready.set()
        parent.hear(frames.Goodbye)

    parent = parents(stalls_from_now)
    before, threads = descriptors(), threading.active_count()
    async with measuring(cluster) as child:
        child.links.measure(Measure(1, "parent", parent.address))
        await until(ready.is_set)
    await until(lambda: descriptors() <= before and threading.active_count() <= threads)


@pytest.mark.parametrize("fetches", [True, False])
async def test_a_node_that_begins_to_fetch_asks_for_no_more(
    cluster: EngineCluster, parents: Parents, *, fetches: bool
) -> None:
    asked, fetching, gone = threading.Event(), threading.Event(), threading.Event()
    more = 0

    def serves(parent: BadParent) -> None:
        nonlocal more
        parent.say(frames.encode(frames.Have(greets(parent).subscription, 0, ALL)))
        requests = [parent.hear(frames.Request) for _ in range(4)]
        asked.set()
        fetching.wait(20.0)
        for request in requests:
            parent.say(frames.encode_body_header(request.request, LINK_PIECE, last=True) + content()[:LINK_PIECE])
        try:
            while True:
                parent.hear(frames.Request)
                more += 1
        finally:
            gone.set()

    cluster.origin.add(REFERENCE, model(8 * MIB))
    async with measuring(cluster, config=EngineConfig(name="child", download_rate=8.0 * MIB)) as child:
        parent = parents(serves)
        child.links.measure(Measure(1, "parent", parent.address))
        await until(asked.is_set)
        if fetches:
            pull = child.node.pulls.start(REFERENCE)
            await until(lambda: bool(child.node.engine.node.fetches))
        fetching.set()
        await until(lambda: bool(child.answers))
        if fetches:
            assert pull.snapshot().state not in ("done", "failed")
            await child.node.pulls.wait(pull)
        await until(gone.is_set)
    assert (more == 0) == fetches


async def test_what_is_sent_of_the_link_shard_counts_as_nothing_of_a_model(cluster: EngineCluster) -> None:
    async with measuring(cluster) as child, cluster.node("p") as parent:
        assert await child.rate(parent.server.address, parent=parent.store.node_id) is not None
        assert parent.server.load().bytes_sent == 0


async def test_who_may_download_next_to_nothing_does_not_ask_for_it(cluster: EngineCluster) -> None:
    config = EngineConfig(name="child", download_rate=1.0 * MIB)
    async with measuring(cluster, config=config) as child:
        assert await child.rate("127.0.0.1:1") == 1.0 * MIB


async def test_who_may_download_some_is_as_fast_as_that(cluster: EngineCluster) -> None:
    config = EngineConfig(name="child", download_rate=8.0 * MIB)
    async with measuring(cluster, config=config) as child, cluster.node("p") as parent:
        assert await child.rate(parent.server.address, parent=parent.store.node_id) == 8.0 * MIB
