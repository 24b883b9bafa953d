"""Why a pull is as fast as it is, as an answer: what its nodes said of their time, and what is known of those that
serve them. Made part by part, as a large pull's own answer is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modeldist.control.api.node_by_node import in_parts
from modeldist.control.api.pull_answer import pull_answer
from modeldist.control.plane import ControlPlane
from modeldist.control.pulls.pull import Pull, PullNode, facts_of
from modeldist.control.views import WhyNodeView
from modeldist.explain import Explanation, Uploads, explain
from modeldist.units import counted

_ASKED = 200  # nodes that are looked at for what is upstream of the others


def why_answer(request: Request, plane: ControlPlane, pull: Pull) -> Response:
    """A WhyView. Raises Overloaded where there is no room for a large one."""
    known = _Known.of(plane, pull)
    beginning = msgspec.json.encode({"pull": pull.id, "state": pull.state, "summary": whole(pull)}).removesuffix(b"}")
    return pull_answer(request, pull, in_parts(beginning, pull, partial(known.view, pull)))


def whole(pull: Pull) -> str:
    """How far all of it is, or how it ended."""
    states = Counter(node.state for node in pull.nodes.values())
    if not pull.nodes:
        return "It runs, and no node takes part yet." if pull.running else f"No node took part; it is {pull.state}."
    if pull.state == "done":
        return f"It is done on {counted(len(pull.nodes), 'node')}."
    began = {"running": "It runs", "failed": "It failed", "cancelled": "It was cancelled"}[pull.state]
    failed = f", {states['failed']} failed" if states["failed"] else ""
    return f"{began}: of {counted(len(pull.nodes), 'node')} {states['done']} done{failed}."


@dataclass(frozen=True)
class _Known:
    """`names` of connected nodes, by id; `uploads` of those that have a limit; `upstream`: what most of the nodes wait
    for that wait for no other node."""

    names: Mapping[str, str]
    uploads: Mapping[str, Uploads]
    upstream: Explanation | None
    now: float

    @classmethod
    def of(cls, plane: ControlPlane, pull: Pull) -> _Known:
        names = {node: session.hello.name for node, session in plane.core.sessions.items()}
        seen = plane.scheduler.nodes(time.monotonic())
        uploads = {each.node: each.load.uploads for each in seen if each.load and each.load.uploads}
        known = cls(names, uploads, None, plane.book.now())
        return cls(names, uploads, known.most_named(pull), known.now)

    def most_named(self, pull: Pull) -> Explanation | None:
        """What holds up most of the nodes that are not held up by others."""
        found: Counter[str | None] = Counter()
        one: dict[str | None, Explanation] = {}
        for node in [each for each in pull.nodes.values() if not each.ended and each.where][:_ASKED]:
            explanation = self.explanation(pull, node)
            if explanation.bottleneck not in (None, "upstream"):
                found[explanation.bottleneck] += 1
                one.setdefault(explanation.bottleneck, explanation)
        return one[found.most_common(1)[0][0]] if found else None

    def explanation(self, pull: Pull, node: PullNode) -> Explanation:
        facts = facts_of(pull, node, self.now, away=node.node not in self.names)
        return explain(replace(facts, names=self.names, uploads=self.uploads, upstream=self.upstream))

    def view(self, pull: Pull, node: PullNode) -> WhyNodeView:
        found = self.explanation(pull, node)
        return WhyNodeView(
            node.node,
            self.names.get(node.node, ""),
            node.state,
            found.bottleneck,
            found.summary,
            list(found.evidence),
            found.remedy,
        )
