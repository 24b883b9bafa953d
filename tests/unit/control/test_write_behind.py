"""Nothing that changed is lost between memory and the store, and a failing store does not stop the control plane."""

from __future__ import annotations

import asyncio
import copy

import pytest

from modeldist.artifact import Digest
from modeldist.control.admission.rooms import Ceilings, Rooms
from modeldist.control.agent_session import AgentSession
from modeldist.control.api.pull_events import PullEvents
from modeldist.control.outbox import Outbox
from modeldist.control.pulls.book import PullBook
from modeldist.control.pulls.brief import Brief, brief_of
from modeldist.control.pulls.pull import Pull, PullState
from modeldist.control.pulls.selection import Selector
from modeldist.control.pulls.watch import Watchers
from modeldist.control.registry import Registry
from modeldist.control.write_behind import WriteBehind
from modeldist.errors import Overloaded
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import PROTOCOL, Hello, PullProgress, Welcome

HELLO = Hello(PROTOCOL, "a", "a", "0", "")


def session() -> AgentSession:
    artifacts: frozenset[Digest] = frozenset()
    return AgentSession(HELLO, Welcome(PROTOCOL, "c", 1.0, b""), Outbox(lambda: 0.0), 0.0, 0.0, artifacts)


class FailingStore:
    """Keeps pulls in memory; fails as often as told."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.written: dict[str, dict[str, str]] = {}
        self.nodes: dict[str, float] = {}
        self.done = asyncio.Event()

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("no database")

    async def add(self, pull: Pull) -> Pull:
        return pull

    async def write(self, changed: list[tuple[Pull, set[str]]]) -> None:
        self._fail()
        for pull, nodes in changed:
            states = {node: pull.nodes[node].state for node in nodes}
            self.written.setdefault(pull.id, {}).update(states | {"": pull.state})
        self.done.set()

    async def seen(self, hellos: dict[str, tuple[Hello, float]]) -> None:
        self._fail()
        self.nodes.update({node: at for node, (_, at) in hellos.items()})
        self.done.set()

    async def get(self, pull_id: str) -> Pull | None:
        return None

    async def by_key(self, key: str) -> Pull | None:
        return None

    async def running(self) -> list[Pull]:
        return []

    async def listing(self, before: str | None, limit: int, state: PullState | None) -> tuple[list[Brief], bool]:
        return [], False

    async def known(self, nodes: list[str]) -> set[str]:
        return set(nodes)


async def test_pulls_are_written_once_the_store_is_back() -> None:
    store = FailingStore(failures=2)
    book = PullBook(store, store, lambda: 1.0, write_delay=0.001)
    agent = session()
    book.connected(agent)
    pull, new = await book.create("org/model:v1", Selector(nodes=("a",)), Priority.PULL)
    assert new
    book.progressed(agent, PullProgress(pull.id, "done"))
    # Ended, not written: still found.
    assert await book.get(pull.id) is pull
    await asyncio.wait_for(store.done.wait(), 10)
    assert store.written == {pull.id: {"a": "done", "": "done"}}
    book.disconnected(agent)
    await book.close()


class LateStore(FailingStore):
    """Reads a pull, and answers only once it was told to."""

    def __init__(self) -> None:
        super().__init__(failures=0)
        self.pulls: dict[str, Pull] = {}
        self.reading = asyncio.Event()
        self.answering = asyncio.Event()

    async def add(self, pull: Pull) -> Pull:
        self.pulls[pull.id] = copy.deepcopy(pull)
        return pull

    async def write(self, changed: list[tuple[Pull, set[str]]]) -> None:
        self.pulls.update({pull.id: copy.deepcopy(pull) for pull, _ in changed})
        await super().write(changed)

    async def get(self, pull_id: str) -> Pull | None:
        return self.pulls.get(pull_id)

    async def by_key(self, key: str) -> Pull | None:
        found = next((pull for pull in self.pulls.values() if pull.idempotency_key == key), None)
        return await self._late(found) if found else None

    async def listing(self, before: str | None, limit: int, state: PullState | None) -> tuple[list[Brief], bool]:
        return [brief_of(await self._late(pull)) for pull in self.pulls.values()], False

    async def _late(self, read: Pull) -> Pull:
        self.reading.set()
        await self.answering.wait()
        return read


@pytest.mark.parametrize("ask", ["the same key", "all pulls"])
async def test_a_pull_that_ends_while_it_is_read_is_not_shown_running(ask: str) -> None:
    store = LateStore()
    book = PullBook(store, store, lambda: 1.0, write_delay=0.001)
    agent = session()
    book.connected(agent)

    async def create() -> Pull:
        return (await book.create("org/model:v1", Selector(nodes=("a",)), Priority.PULL, "key"))[0]

    async def first_of_all() -> Pull:
        return (await book.listing(None, 10, None))[0][0].pull

    pull = await create()
    reading = asyncio.create_task(create() if ask == "the same key" else first_of_all())
    await asyncio.wait_for(store.reading.wait(), 10)
    book.progressed(agent, PullProgress(pull.id, "done"))
    await asyncio.wait_for(store.done.wait(), 10)
    await asyncio.sleep(0)  # the writing ends
    store.answering.set()
    found = await asyncio.wait_for(reading, 10)
    assert (found.id, found.state) == (pull.id, "done")
    book.disconnected(agent)
    await book.close()


async def test_watchers_are_bounded_and_leave() -> None:
    watchers = Watchers(Rooms(Ceilings(streams=1)))
    with watchers.watch("p") as watch:
        with pytest.raises(Overloaded) as refused, watchers.watch("q"):
            pass
        assert refused.value.retry_after
        watchers.tell("p", "a", ended=False)
        watchers.tell("p", "b", ended=False)
        watchers.tell("other", "c", ended=True)
        assert await watch.changes(10.0) == ({"a", "b"}, False)
        assert await watch.changes(0.001) == (set(), False)
        watchers.close()
        assert await watch.changes(10.0) == (set(), True)
    with watchers.watch("q"):
        pass


async def test_whoever_is_sent_away_gets_no_more_of_a_large_pull() -> None:
    """In the middle of it, too: whoever reads slowly would see what nodes do long after."""
    pull = Pull("p", "memory://org/model:v1", Selector(everyone=True), Priority.PULL, 1.0)
    for number in range(1000):
        pull.add(f"node-{number}", 1.0)
    watching = Watchers(Rooms()).watch("p", "lent")
    with watching as watch:
        parts = aiter(PullEvents(pull, watch, watching).body_iterator)
        assert bytes(await anext(parts)).startswith(b"event: snapshot")  # type: ignore[arg-type]
        watch.send_away()
        with pytest.raises(StopAsyncIteration):
            await anext(parts)


async def test_nodes_are_written_at_the_end() -> None:
    store = FailingStore(failures=0)
    registry = Registry(store, lambda: 10.0, lambda: 1010.0, write_delay=3600.0)
    agent = session()
    registry.connected(agent)
    registry.progressed(agent, PullProgress("p", "done"))
    await registry.close()
    assert store.nodes == {"a": 1000.0}


async def test_nodes_are_written_again_after_a_failure() -> None:
    store = FailingStore(failures=1)
    registry = Registry(store, lambda: 0.0, lambda: 5.0, write_delay=0.001)
    registry.connected(session())
    await asyncio.wait_for(store.done.wait(), 10)
    assert store.nodes == {"a": 5.0}
    await registry.close()


async def test_a_store_that_fails_at_the_end_does_not_hang() -> None:
    async def broken() -> None:
        raise OSError

    writer = WriteBehind(broken, delay=3600.0)
    writer.mark()
    await asyncio.wait_for(writer.close(), 10)
