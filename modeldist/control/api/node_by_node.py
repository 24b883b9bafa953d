"""What tells of a pull node by node. Of ten thousand nodes it is some megabytes: its parts are made as somebody takes
them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from modeldist.control.pulls.brief import brief_of
from modeldist.control.pulls.pull import Pull, PullNode
from modeldist.control.pulls.shown import node_view, summary

TOGETHER = 100  # nodes in one part


def in_parts(beginning: bytes, pull: Pull, view: Callable[[PullNode], object]) -> Iterator[bytes]:
    """A JSON object in parts, its `beginning` and `nodes`, each made when the one before was taken: a reader who takes
    his time, or ten thousand nodes, cost one part. A node that changes meanwhile is shown as it is then."""
    names = sorted(pull.nodes)
    part = beginning + b',"nodes":['
    for start in range(0, len(names), TOGETHER):
        some = names[start : start + TOGETHER]
        part += b",".join(msgspec.json.encode(view(pull.nodes[name])) for name in some)
        if start + TOGETHER < len(names):
            yield part + b","
            part = b""
    yield part + b"]}"


def document(pull: Pull) -> Iterator[bytes]:
    """A PullView as JSON, in parts."""
    yield from in_parts(msgspec.json.encode(summary(brief_of(pull))).removesuffix(b"}"), pull, node_view)
