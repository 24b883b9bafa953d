"""The REST API for asyncio: what the command line uses."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Self, TypeVar

import httpx2

from modeldist.client import calls
from modeldist.client.answers import CONNECT, CONNECT_ONE_OF, decoded, error_of, no_answer, trust
from modeldist.client.calls import By, Call, Nodes, Paged, PriorityName
from modeldist.client.cursors import Cursors
from modeldist.client.pull_events import (
    LARGEST_EVENT,
    RECONNECTS,
    SILENCE,
    PullEvent,
    event_of,
    failure_of,
    stopped_early,
)
from modeldist.client.replicas import Replicas
from modeldist.control.views import (
    ArtifactView,
    AuditPage,
    AuditRecordView,
    HoldersView,
    KeepingView,
    ModelPage,
    ModelView,
    NodePage,
    NodeTaskPage,
    NodeTaskView,
    NodeView,
    PieceMapPage,
    PieceMapView,
    PullPage,
    PullSummary,
    PullView,
    RackPage,
    RackView,
    RolloutPage,
    RolloutSummary,
    RolloutView,
    ShardPage,
    ShardView,
    StatusView,
    SwarmView,
    TaskPage,
    TaskSummary,
    TaskView,
    TokenView,
    WebhookView,
    WhyView,
)
from modeldist.errors import ControlPlaneUnreachable, ModeldistError, NotLeading, Overloaded
from modeldist.session.asking_again import PATIENCE, AskingAgain
from modeldist.tracing import headers

PAGE = 500  # rows asked for at a time

T = TypeVar("T")
P = TypeVar("P", bound=Paged)


class AsyncClient:
    """`url` is the control plane's base (https://host:7420), or those of its replicas, a list or a text with commas:
    the next one is asked when one is away or does not lead. Use as `async with`; `timeout` in seconds for one answer:
    resolving waits for an origin. Raises what problems stand for, classes of `modeldist.errors` with their `code`s.

    Where the control plane has no room (429, 503 with Retry-After), what may be asked twice is asked again for
    `patience` seconds: not `create_pull` without an idempotency key. `asked_again` counts that by the code of the
    refusal."""

    def __init__(
        self,
        url: str | Sequence[str],
        token: str,
        *,
        timeout: float = 330.0,
        patience: float = PATIENCE,
        verify: ssl.SSLContext | None = None,
    ) -> None:
        self.asked_again: Counter[str] = Counter()
        self._patience = patience
        self._replicas = Replicas(url)
        self._timeout = timeout
        self._connect = min(timeout, CONNECT_ONE_OF if self._replicas.several else CONNECT)
        self._http = {
            each: httpx2.AsyncClient(
                base_url=f"{each}/api/v1/",
                headers={"Authorization": f"Bearer {token}"},
                timeout=httpx2.Timeout(timeout, connect=self._connect),
                verify=trust(each, verify),
                trust_env=False,  # a proxy of the environment must not see the token
            )
            for each in self._replicas.urls
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        for http in self._http.values():
            await http.aclose()

    # --- references -------------------------------------------------------------------------------------------------

    async def resolve(self, reference: str) -> ArtifactView:
        """What the reference means now. Raises what the origin's answer stands for (NotFound, AccessDenied, …)."""
        return await self._ask(calls.resolve(reference))

    # --- pulls ------------------------------------------------------------------------------------------------------

    async def create_pull(
        self,
        reference: str,
        nodes: Nodes = "all",
        *,
        priority: PriorityName = "prefetch",
        selection: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        deadline: datetime | None = None,
        webhook: tuple[str, str] | None = None,
    ) -> PullView:
        """Put a model on nodes; answered before they have it.

        `selection`: which part of it, as the arguments of `modelpack.plan.selection.Selection.of`. `deadline`, with its
        time zone: nodes that are not done by then have failed. `webhook`: where its end is told, and the secret it is
        signed with (`verify_webhook`). With an `idempotency_key` it may be asked again, after an answer that was lost.
        Raises NotFound, NotEnoughNodes, IdempotencyKeyReused, UsageError.
        """
        return await self._ask(
            calls.create_pull(
                reference,
                nodes,
                priority=priority,
                selection=selection,
                deadline=deadline,
                webhook=webhook,
                idempotency_key=idempotency_key or self._replicas.key(),
            )
        )

    async def get_pull(self, pull: str) -> PullView:
        return await self._ask(calls.get_pull(pull))

    async def cancel_pull(self, pull: str) -> PullView:
        """Nodes keep what they have. Harmless when it ended already."""
        return await self._ask(calls.cancel_pull(pull))

    async def why_pull(self, pull: str) -> WhyView:
        """What holds up each of its nodes, or held it up."""
        return await self._ask(calls.why_pull(pull))

    async def get_webhook(self, pull: str) -> WebhookView:
        """What became of a pull's webhook."""
        return await self._ask(calls.get_webhook(pull))

    async def list_shards(self, pull: str, *, cursor: str | None = None, limit: int = 100) -> ShardPage:
        """The files of a pull's model, and how far the swarm is with each; none before its reference was resolved."""
        return await self._ask(calls.list_shards(pull, cursor, limit))

    def shards(self, pull: str) -> AsyncGenerator[ShardView, None]:
        """All of them, asked for page by page."""
        return self._every(lambda cursor: calls.list_shards(pull, cursor, PAGE), lambda page: page.shards)

    async def list_pulls(self, *, cursor: str | None = None, limit: int = 100, state: str | None = None) -> PullPage:
        """One page, newest first; `pulls` has them all."""
        return await self._ask(calls.list_pulls(cursor, limit, state))

    def pulls(self, *, state: str | None = None) -> AsyncGenerator[PullSummary, None]:
        """All, newest first, asked for page by page."""
        return self._every(lambda cursor: calls.list_pulls(cursor, PAGE, state), lambda page: page.pulls)

    async def stream_events(self, pull: str) -> AsyncGenerator[PullEvent, None]:
        """A snapshot, changes, and the end of a pull. Raises ControlPlaneUnreachable when the stream stops early; see
        `follow`."""
        url = self._replicas.url
        http = self._http[url]
        request = http.build_request(
            "GET", calls.events_of(pull), timeout=httpx2.Timeout(SILENCE, connect=self._connect)
        )
        try:
            response = await http.send(request, stream=True)
            try:
                if response.status_code != httpx2.codes.OK:
                    await response.aread()
                    raise error_of(response, url)
                async for sent in httpx2.EventSource(response, max_event_size=LARGEST_EVENT):
                    yield (event := event_of(sent.event, sent.data))
                    if event.kind == "end":
                        return
            finally:
                await response.aclose()
        except NotLeading:
            self._replicas.leave(url)
            raise
        except httpx2.HTTPError as error:
            self._replicas.leave(url)
            raise no_answer(url, error, SILENCE) from error
        raise stopped_early(url, pull)

    async def follow(self, pull: str) -> AsyncGenerator[PullEvent, None]:
        """As `stream_events`, up to the end: a stream that breaks, or for which there is no room, is asked for again,
        and begins with a snapshot."""
        lost = 0  # times in a row
        again = AskingAgain(self._patience, time.monotonic())
        while True:
            try:
                async with aclosing(self.stream_events(pull)) as events:
                    async for event in events:
                        lost, again = 0, AskingAgain(self._patience, time.monotonic())
                        yield event
                return
            except Overloaded as error:
                if not await self._paused(again, error):
                    raise
                continue
            except ControlPlaneUnreachable:
                lost += 1
                if lost > RECONNECTS * len(self._replicas.urls):
                    raise
            await asyncio.sleep(lost / len(self._replicas.urls))

    async def wait(self, pull: str, *, check: bool = True) -> PullView:
        """The pull once it has ended; limit it with `asyncio.timeout`, the pull goes on. With `check`, one that did not
        end well raises the error that its nodes agree on, or PullFailed."""
        ended: PullView | None = None
        async with aclosing(self.follow(pull)) as events:
            async for event in events:
                ended = event.pull or ended
        assert ended is not None
        if check and ended.state != "done":
            raise failure_of(ended)
        return ended

    # --- what there is ----------------------------------------------------------------------------------------------

    async def list_models(self, *, cursor: str | None = None, limit: int = 100) -> ModelPage:
        return await self._ask(calls.list_models(cursor, limit))

    def models(self) -> AsyncGenerator[ModelView, None]:
        """All models that were resolved, asked for page by page."""
        return self._every(lambda cursor: calls.list_models(cursor, PAGE), lambda page: page.models)

    async def get_model(self, digest: str) -> ModelView:
        return await self._ask(calls.get_model(digest))

    async def where_is(self, digest: str) -> HoldersView:
        """Connected nodes that hold the whole artifact."""
        return await self._ask(calls.where_is(digest))

    async def list_nodes(self, *, cursor: str | None = None, limit: int = 100) -> NodePage:
        return await self._ask(calls.list_nodes(cursor, limit))

    def nodes(self) -> AsyncGenerator[NodeView, None]:
        """All nodes, connected or not, asked for page by page."""
        return self._every(lambda cursor: calls.list_nodes(cursor, PAGE), lambda page: page.nodes)

    async def get_node(self, node: str) -> NodeView:
        return await self._ask(calls.get_node(node))

    async def get_node_tasks(self, node: str, *, cursor: str | None = None, limit: int = 100) -> NodeTaskPage:
        """Shard tasks that a node takes part in; none of one that is away."""
        return await self._ask(calls.get_node_tasks(node, cursor, limit))

    def node_tasks(self, node: str) -> AsyncGenerator[NodeTaskView, None]:
        """All of them, asked for page by page."""
        return self._every(lambda cursor: calls.get_node_tasks(node, cursor, PAGE), lambda page: page.tasks)

    async def list_racks(self, *, cursor: str | None = None, limit: int = 100) -> RackPage:
        return await self._ask(calls.list_racks(cursor, limit))

    def racks(self) -> AsyncGenerator[RackView, None]:
        """The nodes rack by rack, asked for page by page."""
        return self._every(lambda cursor: calls.list_racks(cursor, PAGE), lambda page: page.racks)

    async def list_tasks(self, *, cursor: str | None = None, limit: int = 100) -> TaskPage:
        return await self._ask(calls.list_tasks(cursor, limit))

    def tasks(self) -> AsyncGenerator[TaskSummary, None]:
        """All shard tasks, asked for page by page."""
        return self._every(lambda cursor: calls.list_tasks(cursor, PAGE), lambda page: page.tasks)

    async def get_task(self, digest: str) -> TaskView:
        return await self._ask(calls.get_task(digest))

    async def get_swarm(self, digest: str, by: By | None = None) -> SwarmView:
        """Who feeds whom in a shard task, with rates. `by`: what is taken together; None: the finest one can read."""
        return await self._ask(calls.get_swarm(digest, by))

    async def get_pieces(
        self, digest: str, *, node: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> PieceMapPage:
        """Which nodes have which pieces of a shard task; with `node` that one alone."""
        return await self._ask(calls.get_pieces(digest, node, cursor, limit))

    def pieces(self, digest: str) -> AsyncGenerator[PieceMapView, None]:
        """All nodes' pieces, asked for page by page."""
        return self._every(lambda cursor: calls.get_pieces(digest, None, cursor, PAGE), lambda page: page.maps)

    async def token(self) -> TokenView:
        """Whose token this client shows, and what it allows."""
        return await self._ask(calls.token())

    async def list_audit(self, *, cursor: str | None = None, limit: int = 100) -> AuditPage:
        """Who did what, newest first, as far back as the control plane remembers."""
        return await self._ask(calls.list_audit(cursor, limit))

    def audit(self) -> AsyncGenerator[AuditRecordView, None]:
        """All of it, asked for page by page."""
        return self._every(lambda cursor: calls.list_audit(cursor, PAGE), lambda page: page.records)

    async def status(self) -> StatusView:
        return await self._ask(calls.status())

    # --- which models nodes keep ------------------------------------------------------------------------------------

    async def pin(
        self, reference: str, nodes: Nodes = "all", *, selection: Mapping[str, Any] | None = None
    ) -> KeepingView:
        """Have nodes keep a model. `nodes`: names, "all" that are connected, or {"labels": {…}}. The answer has what
        each did."""
        return await self._ask(calls.keeping("pin", reference, nodes, selection))

    async def unpin(
        self, reference: str, nodes: Nodes = "all", *, selection: Mapping[str, Any] | None = None
    ) -> KeepingView:
        """Have nodes keep it no longer; see `pin`."""
        return await self._ask(calls.keeping("unpin", reference, nodes, selection))

    async def evict(
        self, reference: str, nodes: Nodes = "all", *, selection: Mapping[str, Any] | None = None
    ) -> KeepingView:
        """Have nodes remove it; see `pin`. Where it is pinned it stays."""
        return await self._ask(calls.keeping("evict", reference, nodes, selection))

    # --- new versions of this program -------------------------------------------------------------------------------

    async def create_rollout(self, release: str, nodes: Nodes = "all", **how: Any) -> RolloutView:
        """Update nodes to a release, wave by wave. `nodes`: names, "all" that are connected, or {"labels": {…}}; `how`:
        canary, waves, most_away, health, within, drain, tolerate, control_plane. Raises RolloutUnderWay, NotFound."""
        return await self._ask(calls.create_rollout(release, nodes, how))

    async def get_rollout(self, rollout: str) -> RolloutView:
        return await self._ask(calls.get_rollout(rollout))

    async def abort_rollout(self, rollout: str) -> RolloutView:
        """Nobody else is told; those that were go back. Harmless when it ended already."""
        return await self._ask(calls.abort_rollout(rollout))

    async def list_rollouts(self, *, cursor: str | None = None, limit: int = 100) -> RolloutPage:
        """One page, newest first."""
        return await self._ask(calls.list_rollouts(cursor, limit))

    def rollouts(self) -> AsyncGenerator[RolloutSummary, None]:
        """All, newest first, asked for page by page."""
        return self._every(lambda cursor: calls.list_rollouts(cursor, PAGE), lambda page: page.rollouts)

    # --- the wire ---------------------------------------------------------------------------------------------------

    async def _every(
        self, ask: Callable[[str | None], Call[P]], rows: Callable[[P], Sequence[T]]
    ) -> AsyncGenerator[T, None]:
        cursors = Cursors(self._replicas)
        cursor: str | None = None
        while True:
            page = await self._ask(ask(cursor))
            for row in rows(page):
                yield row
            if (cursor := cursors.after(page.next, rows=len(rows(page)))) is None:
                return

    async def _ask(self, call: Call[T]) -> T:
        again = AskingAgain(self._patience if call.repeatable else 0.0, time.monotonic())
        while True:
            try:
                return await self._once(call)
            except ModeldistError as error:
                if not await self._paused(again, error):
                    raise

    async def _paused(self, again: AskingAgain, error: ModeldistError) -> bool:
        """Whether it is to be asked again, now."""
        pause = again.pause(error, time.monotonic(), random.random())
        if pause is None:
            return False
        self.asked_again[error.code] += 1
        await asyncio.sleep(pause)
        return True

    async def _once(self, call: Call[T]) -> T:
        """Of the replica that leads, while it can be found."""
        attempts = self._replicas.attempts()
        while True:
            url = self._replicas.url
            try:
                return decoded(call, await self._request(call, url), url)
            except NotLeading as error:
                if (pause := attempts.after(error, url, repeatable=call.repeatable)) is None:
                    raise
            except httpx2.HTTPError as error:
                if (pause := attempts.after(error, url, repeatable=call.repeatable)) is None:
                    raise no_answer(url, error, self._timeout) from error
            await asyncio.sleep(pause)

    async def _request(self, call: Call[T], url: str) -> httpx2.Response:
        return await self._http[url].request(
            call.method, call.path, params=dict(call.parameters), json=call.body, headers={**call.headers, **headers()}
        )
