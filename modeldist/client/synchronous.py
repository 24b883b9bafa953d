"""The REST API for programs without an event loop."""

from __future__ import annotations

import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
FIRST_LOOK, LAST_LOOK = 0.1, 2.0  # seconds between two looks at a pull that is waited for

T = TypeVar("T")
P = TypeVar("P", bound=Paged)


class Client:
    """`url` is the control plane's base (https://host:7420), or those of its replicas, a list or a text with commas:
    the next one is asked when one is away or does not lead. Use as `with`; `timeout` in seconds for one answer:
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
            each: httpx2.Client(
                base_url=f"{each}/api/v1/",
                headers={"Authorization": f"Bearer {token}"},
                timeout=httpx2.Timeout(timeout, connect=self._connect),
                verify=trust(each, verify),
                trust_env=False,  # a proxy of the environment must not see the token
            )
            for each in self._replicas.urls
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for http in self._http.values():
            http.close()

    # --- references -------------------------------------------------------------------------------------------------

    def resolve(self, reference: str) -> ArtifactView:
        """What the reference means now. Raises what the origin's answer stands for (NotFound, AccessDenied, …)."""
        return self._ask(calls.resolve(reference))

    # --- pulls ------------------------------------------------------------------------------------------------------

    def create_pull(
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
        return self._ask(
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

    def get_pull(self, pull: str) -> PullView:
        return self._ask(calls.get_pull(pull))

    def cancel_pull(self, pull: str) -> PullView:
        """Nodes keep what they have. Harmless when it ended already."""
        return self._ask(calls.cancel_pull(pull))

    def why_pull(self, pull: str) -> WhyView:
        """What holds up each of its nodes, or held it up."""
        return self._ask(calls.why_pull(pull))

    def get_webhook(self, pull: str) -> WebhookView:
        """What became of a pull's webhook."""
        return self._ask(calls.get_webhook(pull))

    def list_shards(self, pull: str, *, cursor: str | None = None, limit: int = 100) -> ShardPage:
        """The files of a pull's model, and how far the swarm is with each; none before its reference was resolved."""
        return self._ask(calls.list_shards(pull, cursor, limit))

    def shards(self, pull: str) -> Iterator[ShardView]:
        """All of them, asked for page by page."""
        return self._every(lambda cursor: calls.list_shards(pull, cursor, PAGE), lambda page: page.shards)

    def list_pulls(self, *, cursor: str | None = None, limit: int = 100, state: str | None = None) -> PullPage:
        """One page, newest first; `pulls` has them all."""
        return self._ask(calls.list_pulls(cursor, limit, state))

    def pulls(self, *, state: str | None = None) -> Iterator[PullSummary]:
        """All, newest first, asked for page by page."""
        return self._every(lambda cursor: calls.list_pulls(cursor, PAGE, state), lambda page: page.pulls)

    def stream_events(self, pull: str) -> Iterator[PullEvent]:
        """A snapshot, changes, and the end of a pull. Raises ControlPlaneUnreachable when the stream stops early; see
        `follow`."""
        url = self._replicas.url
        http = self._http[url]
        request = http.build_request(
            "GET", calls.events_of(pull), timeout=httpx2.Timeout(SILENCE, connect=self._connect)
        )
        try:
            response = http.send(request, stream=True)
            try:
                if response.status_code != httpx2.codes.OK:
                    response.read()
                    raise error_of(response, url)
                for sent in httpx2.EventSource(response, max_event_size=LARGEST_EVENT):
                    yield (event := event_of(sent.event, sent.data))
                    if event.kind == "end":
                        return
            finally:
                response.close()
        except NotLeading:
            self._replicas.leave(url)
            raise
        except httpx2.HTTPError as error:
            self._replicas.leave(url)
            raise no_answer(url, error, SILENCE) from error
        raise stopped_early(url, pull)

    def follow(self, pull: str) -> Iterator[PullEvent]:
        """As `stream_events`, up to the end: a stream that breaks, or for which there is no room, is asked for again,
        and begins with a snapshot."""
        lost = 0  # times in a row
        again = AskingAgain(self._patience, time.monotonic())
        while True:
            try:
                for event in self.stream_events(pull):
                    lost, again = 0, AskingAgain(self._patience, time.monotonic())
                    yield event
                return
            except Overloaded as error:
                if not self._paused(again, error):
                    raise
                continue
            except ControlPlaneUnreachable:
                lost += 1
                if lost > RECONNECTS * len(self._replicas.urls):
                    raise
            time.sleep(lost / len(self._replicas.urls))

    def wait(self, pull: str, timeout: float | None = None, *, check: bool = True) -> PullView:
        """The pull once it has ended. Raises TimeoutError after `timeout` seconds; the pull goes on. With `check`, one
        that did not end well raises the error that its nodes agree on, or PullFailed."""
        until = None if timeout is None else time.monotonic() + timeout
        pause = FIRST_LOOK
        while (ended := self.get_pull(pull)).state == "running":
            if until is not None and time.monotonic() + pause > until:
                raise TimeoutError(f"Pull {pull} of {ended.reference} still runs after {timeout} seconds.")
            time.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)
        if check and ended.state != "done":
            raise failure_of(ended)
        return ended

    # --- what there is ----------------------------------------------------------------------------------------------

    def list_models(self, *, cursor: str | None = None, limit: int = 100) -> ModelPage:
        return self._ask(calls.list_models(cursor, limit))

    def models(self) -> Iterator[ModelView]:
        """All models that were resolved, asked for page by page."""
        return self._every(lambda cursor: calls.list_models(cursor, PAGE), lambda page: page.models)

    def get_model(self, digest: str) -> ModelView:
        return self._ask(calls.get_model(digest))

    def where_is(self, digest: str) -> HoldersView:
        """Connected nodes that hold the whole artifact."""
        return self._ask(calls.where_is(digest))

    def list_nodes(self, *, cursor: str | None = None, limit: int = 100) -> NodePage:
        return self._ask(calls.list_nodes(cursor, limit))

    def nodes(self) -> Iterator[NodeView]:
        """All nodes, connected or not, asked for page by page."""
        return self._every(lambda cursor: calls.list_nodes(cursor, PAGE), lambda page: page.nodes)

    def get_node(self, node: str) -> NodeView:
        return self._ask(calls.get_node(node))

    def get_node_tasks(self, node: str, *, cursor: str | None = None, limit: int = 100) -> NodeTaskPage:
        """Shard tasks that a node takes part in; none of one that is away."""
        return self._ask(calls.get_node_tasks(node, cursor, limit))

    def node_tasks(self, node: str) -> Iterator[NodeTaskView]:
        """All of them, asked for page by page."""
        return self._every(lambda cursor: calls.get_node_tasks(node, cursor, PAGE), lambda page: page.tasks)

    def list_racks(self, *, cursor: str | None = None, limit: int = 100) -> RackPage:
        return self._ask(calls.list_racks(cursor, limit))

    def racks(self) -> Iterator[RackView]:
        """The nodes rack by rack, asked for page by page."""
        return self._every(lambda cursor: calls.list_racks(cursor, PAGE), lambda page: page.racks)

    def list_tasks(self, *, cursor: str | None = None, limit: int = 100) -> TaskPage:
        return self._ask(calls.list_tasks(cursor, limit))

    def tasks(self) -> Iterator[TaskSummary]:
        """All shard tasks, asked for page by page."""
        return self._every(lambda cursor: calls.list_tasks(cursor, PAGE), lambda page: page.tasks)

    def get_task(self, digest: str) -> TaskView:
        return self._ask(calls.get_task(digest))

    def get_swarm(self, digest: str, by: By | None = None) -> SwarmView:
        """Who feeds whom in a shard task, with rates. `by`: what is taken together; None: the finest one can read."""
        return self._ask(calls.get_swarm(digest, by))

    def get_pieces(
        self, digest: str, *, node: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> PieceMapPage:
        """Which nodes have which pieces of a shard task; with `node` that one alone."""
        return self._ask(calls.get_pieces(digest, node, cursor, limit))

    def pieces(self, digest: str) -> Iterator[PieceMapView]:
        """All nodes' pieces, asked for page by page."""
        return self._every(lambda cursor: calls.get_pieces(digest, None, cursor, PAGE), lambda page: page.maps)

    def token(self) -> TokenView:
        """Whose token this client shows, and what it allows."""
        return self._ask(calls.token())

    def list_audit(self, *, cursor: str | None = None, limit: int = 100) -> AuditPage:
        """Who did what, newest first, as far back as the control plane remembers."""
        return self._ask(calls.list_audit(cursor, limit))

    def audit(self) -> Iterator[AuditRecordView]:
        """All of it, asked for page by page."""
        return self._every(lambda cursor: calls.list_audit(cursor, PAGE), lambda page: page.records)

    def status(self) -> StatusView:
        return self._ask(calls.status())

    # --- which models nodes keep ------------------------------------------------------------------------------------

    def pin(self, reference: str, nodes: Nodes = "all", *, selection: Mapping[str, Any] | None = None) -> KeepingView:
        """Have nodes keep a model. `nodes`: names, "all" that are connected, or {"labels": {…}}. The answer has what
        each did."""
        return self._ask(calls.keeping("pin", reference, nodes, selection))

    def unpin(self, reference: str, nodes: Nodes = "all", *, selection: Mapping[str, Any] | None = None) -> KeepingView:
        """Have nodes keep it no longer; see `pin`."""
        return self._ask(calls.keeping("unpin", reference, nodes, selection))

    def evict(self, reference: str, nodes: Nodes = "all", *, selection: Mapping[str, Any] | None = None) -> KeepingView:
        """Have nodes remove it; see `pin`. Where it is pinned it stays."""
        return self._ask(calls.keeping("evict", reference, nodes, selection))

    # --- new versions of this program -------------------------------------------------------------------------------

    def create_rollout(self, release: str, nodes: Nodes = "all", **how: Any) -> RolloutView:
        """Update nodes to a release, wave by wave. `nodes`: names, "all" that are connected, or {"labels": {…}}; `how`:
        canary, waves, most_away, health, within, drain, tolerate, control_plane. Raises RolloutUnderWay, NotFound."""
        return self._ask(calls.create_rollout(release, nodes, how))

    def get_rollout(self, rollout: str) -> RolloutView:
        return self._ask(calls.get_rollout(rollout))

    def abort_rollout(self, rollout: str) -> RolloutView:
        """Nobody else is told; those that were go back. Harmless when it ended already."""
        return self._ask(calls.abort_rollout(rollout))

    def list_rollouts(self, *, cursor: str | None = None, limit: int = 100) -> RolloutPage:
        """One page, newest first."""
        return self._ask(calls.list_rollouts(cursor, limit))

    def rollouts(self) -> Iterator[RolloutSummary]:
        """All, newest first, asked for page by page."""
        return self._every(lambda cursor: calls.list_rollouts(cursor, PAGE), lambda page: page.rollouts)

    # --- the wire ---------------------------------------------------------------------------------------------------

    def _every(self, ask: Callable[[str | None], Call[P]], rows: Callable[[P], Sequence[T]]) -> Iterator[T]:
        cursors = Cursors(self._replicas)
        cursor: str | None = None
        while True:
            page = self._ask(ask(cursor))
            yield from rows(page)
            if (cursor := cursors.after(page.next, rows=len(rows(page)))) is None:
                return

    def _ask(self, call: Call[T]) -> T:
        again = AskingAgain(self._patience if call.repeatable else 0.0, time.monotonic())
        while True:
            try:
                return self._once(call)
            except ModeldistError as error:
                if not self._paused(again, error):
                    raise

    def _paused(self, again: AskingAgain, error: ModeldistError) -> bool:
        """Whether it is to be asked again, now."""
        pause = again.pause(error, time.monotonic(), random.random())
        if pause is None:
            return False
        self.asked_again[error.code] += 1
        time.sleep(pause)
        return True

    def _once(self, call: Call[T]) -> T:
        """Of the replica that leads, while it can be found."""
        attempts = self._replicas.attempts()
        while True:
            url = self._replicas.url
            try:
                return decoded(call, self._request(call, url), url)
            except NotLeading as error:
                if (pause := attempts.after(error, url, repeatable=call.repeatable)) is None:
                    raise
            except httpx2.HTTPError as error:
                if (pause := attempts.after(error, url, repeatable=call.repeatable)) is None:
                    raise no_answer(url, error, self._timeout) from error
            time.sleep(pause)

    def _request(self, call: Call[T], url: str) -> httpx2.Response:
        return self._http[url].request(
            call.method, call.path, params=dict(call.parameters), json=call.body, headers={**call.headers, **headers()}
        )
