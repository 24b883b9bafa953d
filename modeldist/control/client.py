"""A typed client of the REST API: what the command line uses, and any Python program may.

Every failure is a class of `modeldist.errors`: the control plane's problems become the class their `code` names.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self, TypedDict, TypeVar

import httpx2
import msgspec

from modeldist.control.views import (
    ArtifactView,
    HoldersView,
    ModelPage,
    NodePage,
    NodeView,
    Problem,
    PullNodeView,
    PullPage,
    PullView,
    StatusView,
    TaskPage,
    TaskView,
)
from modeldist.errors import ControlPlaneError, ControlPlaneUnreachable, ErrorInfo
from modeldist.session.unreachable import unreachable

T = TypeVar("T")

PriorityName = Literal["serving", "pull", "prefetch"]


class SomeNodes(TypedDict, total=False):
    """Connected nodes: those with all `labels`; of these, or of any, `count` or `percentage`."""

    labels: Mapping[str, str]
    count: int
    percentage: int


Nodes = Sequence[str] | Literal["all"] | SomeNodes
"""Node ids or names, "all", {"labels": {…}}, {"count": n}, {"percentage": p}, {"labels": {…}, "count": n}, …"""

LARGEST_EVENT = 64 << 20  # bytes; a snapshot of 100,000 nodes is about 30 MB
SILENCE = 45.0  # seconds without a byte before an event stream counts as lost; the server comments every 15


@dataclass(frozen=True)
class PullEvent:
    """One event of a pull: `pull` for snapshot and end, `node` for node."""

    kind: Literal["snapshot", "node", "end"]
    pull: PullView | None = None
    node: PullNodeView | None = None


class ControlClient:
    """`url` is the control plane's base (https://host:7420). Use as `async with`; `timeout` in seconds."""

    def __init__(self, url: str, token: str, *, timeout: float = 330.0, verify: ssl.SSLContext | None = None) -> None:
        self._url = url.rstrip("/")
        if verify is None and self._url.startswith("https:"):
            verify = ssl.create_default_context()  # the system's trust store; SSL_CERT_FILE is honoured
        self._http = httpx2.AsyncClient(
            base_url=f"{self._url}/api/v1/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx2.Timeout(timeout, connect=10.0),
            verify=verify or True,
            trust_env=False,  # a proxy of the environment must not see the token
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    # --- references -------------------------------------------------------------------------------------------------

    async def resolve(self, reference: str) -> ArtifactView:
        """What the reference means now. Raises what the origin's answer stands for (NotFound, AccessDenied, …)."""
        return await self._ask(ArtifactView, "POST", "resolve", json={"reference": reference})

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
    ) -> PullView:
        """Put a model on nodes; answered before they have it. `selection`: which part of it, as the arguments of
        `modelpack.plan.selection.Selection.of`. `deadline`, with its time zone: nodes that are not done by then have
        failed. Raises NotFound, UsageError."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body: dict[str, Any] = {"reference": reference, "nodes": nodes, "priority": priority}
        if selection:
            body["selection"] = selection
        if deadline is not None:
            body["deadline"] = deadline.isoformat()
        return await self._ask(PullView, "POST", "pulls", json=body, headers=headers)

    async def get_pull(self, pull: str) -> PullView:
        return await self._ask(PullView, "GET", f"pulls/{_segment(pull)}")

    async def cancel_pull(self, pull: str) -> PullView:
        return await self._ask(PullView, "DELETE", f"pulls/{_segment(pull)}")

    async def list_pulls(self, *, cursor: str | None = None, limit: int = 100, state: str | None = None) -> PullPage:
        """Newest first."""
        return await self._ask(PullPage, "GET", "pulls", params=_given(cursor=cursor, limit=limit, state=state))

    async def stream_events(self, pull: str) -> AsyncIterator[PullEvent]:
        """A snapshot, changes, and the end of a pull. Raises ControlPlaneUnreachable when the stream stops early."""
        request = self._http.build_request(
            "GET", f"pulls/{_segment(pull)}/events", timeout=httpx2.Timeout(SILENCE, connect=10.0)
        )
        try:
            response = await self._http.send(request, stream=True)
            try:
                if response.status_code != httpx2.codes.OK:
                    await response.aread()
                    raise self._error(response)
                async for sent in httpx2.EventSource(response, max_event_size=LARGEST_EVENT):
                    yield (event := _event(sent.event, sent.data))
                    if event.kind == "end":
                        return
            finally:
                await response.aclose()
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        raise ControlPlaneUnreachable(
            f"The control plane at {self._url} stopped telling about pull {pull}.",
            remedy="It may be restarting; ask again. The pull goes on.",
        )

    # --- what there is ----------------------------------------------------------------------------------------------

    async def list_models(self, *, cursor: str | None = None, limit: int = 100) -> ModelPage:
        return await self._ask(ModelPage, "GET", "models", params=_given(cursor=cursor, limit=limit))

    async def where_is(self, digest: str) -> HoldersView:
        """Connected nodes that hold the whole artifact."""
        return await self._ask(HoldersView, "GET", f"models/{_segment(digest)}/nodes")

    async def list_nodes(self, *, cursor: str | None = None, limit: int = 100) -> NodePage:
        return await self._ask(NodePage, "GET", "nodes", params=_given(cursor=cursor, limit=limit))

    async def get_node(self, node: str) -> NodeView:
        return await self._ask(NodeView, "GET", f"nodes/{_segment(node)}")

    async def list_tasks(self, *, cursor: str | None = None, limit: int = 100) -> TaskPage:
        return await self._ask(TaskPage, "GET", "tasks", params=_given(cursor=cursor, limit=limit))

    async def get_task(self, digest: str) -> TaskView:
        return await self._ask(TaskView, "GET", f"tasks/{_segment(digest)}")

    async def status(self) -> StatusView:
        return await self._ask(StatusView, "GET", "status")

    # --- the wire ---------------------------------------------------------------------------------------------------

    async def _ask(self, answer: type[T], method: str, path: str, **rest: Any) -> T:
        try:
            response = await self._http.request(method, path, **rest)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise self._error(response)
        try:
            return msgspec.json.decode(response.content, type=answer)
        except msgspec.DecodeError as error:
            raise self._stranger(response) from error

    def _unreachable(self, error: httpx2.HTTPError) -> ControlPlaneUnreachable:
        return unreachable(self._url, error)

    def _error(self, response: httpx2.Response) -> Exception:
        try:
            problem = msgspec.json.decode(response.content, type=Problem)
        except msgspec.DecodeError:
            return self._stranger(response)
        return ErrorInfo(problem.code, problem.detail, problem.remedy, problem.retry_after).as_error()

    def _stranger(self, response: httpx2.Response) -> ControlPlaneError:
        return ControlPlaneUnreachable(
            f"{self._url} answered {response.status_code} with something that is no control plane's answer.",
            remedy="Check the address; a proxy may stand in between.",
        )


def _event(kind: str, data: str) -> PullEvent:
    match kind:
        case "snapshot" | "end":
            return PullEvent(kind, pull=msgspec.json.decode(data, type=PullView))
        case _:
            return PullEvent("node", node=msgspec.json.decode(data, type=PullNodeView))


def _segment(text: str) -> str:
    """One path segment: a node's name may hold a slash."""
    from urllib.parse import quote

    return quote(text, safe=":@")


def _given(**parameters: str | int | None) -> dict[str, str | int]:
    return {key: value for key, value in parameters.items() if value is not None}
