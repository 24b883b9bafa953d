"""One prefetch: which nodes were asked for which references, and what they answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeldist.errors import ErrorInfo, ModeldistError, PullFailed, UsageError
from modeldist.ray.cluster import Nodes, actor_on, chosen, outcome
from modeldist.ray.copies import NodeCopy, Prefetched
from modeldist.ray.node_pulls import NodePulls

if TYPE_CHECKING:
    from ray import ObjectRef

Answer = NodeCopy | ErrorInfo | Exception
"""Of one node: the copy, what its agent said, or what Ray says of an actor that is gone."""


class Asked:
    """`nodes`: addresses by Ray's id. `answers`: by reference and node."""

    def __init__(self, nodes: Mapping[str, str], answers: Mapping[tuple[str, str], ObjectRef[Any]]) -> None:
        self.nodes = nodes
        self.answers = answers

    def wait(self, timeout: float | None) -> list[Prefetched]:
        if timeout is not None and timeout < 0:
            raise UsageError(
                f"{timeout:g} seconds are no timeout.", remedy="Give None to wait for as long as it takes."
            )
        answers = [answer.future() for answer in self.answers.values()]  # not ray.get, which a Serve replica warns of
        _, missing = futures.wait(answers, timeout)
        if missing:
            raise PullFailed(
                f"{len(missing)} of {len(answers)} prefetches have not ended after {timeout:g} seconds.",
                remedy="They go on; ask again, or give them longer. `modeldist why` on a node says what it waits for.",
            )
        return self._judged(list(map(outcome, answers)))

    async def wait_async(self) -> list[Prefetched]:
        return self._judged(await asyncio.gather(*map(_awaited, self.answers.values())))

    def _judged(self, answers: Sequence[Answer]) -> list[Prefetched]:
        """Raises the first error, which names its node and how many others failed."""
        by_reference: dict[str, dict[str, NodeCopy]] = {}
        failed: list[tuple[str, str, ErrorInfo | Exception]] = []
        for (reference, node), answer in zip(self.answers, answers, strict=True):
            if isinstance(answer, NodeCopy):
                by_reference.setdefault(reference, {})[node] = answer
            else:
                failed.append((reference, node, answer))
        if failed:
            raise self._error(failed)
        return [Prefetched(reference, copies) for reference, copies in by_reference.items()]

    def _error(self, failed: Sequence[tuple[str, str, ErrorInfo | Exception]]) -> ModeldistError:
        reference, node, cause = failed[0]
        others = len({other for _, other, _ in failed}) - 1
        where = f"On the node {self.nodes[node]}" + (f" (and {others} more)" if others else "")
        if isinstance(cause, ErrorInfo):
            return cause.as_error().about(where)
        error = PullFailed(
            f"{where}: it was lost, or the actor there, while {reference} came: {cause}",
            remedy="Ask again: what has arrived is kept.",
        )
        error.__cause__ = cause
        return error


def ask(references: str | Sequence[str], nodes: Nodes, socket: Path | str | None) -> Asked:
    """Have every node begin. Raises UsageError, NotFound."""
    wanted = [references] if isinstance(references, str) else list(dict.fromkeys(references))
    if not wanted:
        raise UsageError("No model was named.", remedy="Give at least one reference.")
    known = chosen(nodes)
    actors = {node: pulls_on(node, socket) for node in known}
    return Asked(known, {(wish, node): actors[node].pull.remote(wish) for wish in wanted for node in known})


def pulls_on(node: str, socket: Path | str | None) -> Any:
    """The actor of this node, and of the agent with this socket there."""
    place = None if socket is None else str(socket)
    return actor_on(node, f"pulls:{node}:{place or ''}", NodePulls, node, place)


async def _awaited(reference: ObjectRef[Any]) -> Answer:
    from ray.exceptions import RayError

    try:
        answer: Answer = await reference
    except RayError as error:
        return error  # type: ignore[no-any-return]
    return answer
