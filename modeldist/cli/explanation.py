"""A pull in sentences: where it stands, where its bytes come from, what went wrong, and what holds it up now. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.cli import units

if TYPE_CHECKING:
    from modeldist.control.views import PullNodeView, PullView

_MOST = 0.9  # a share that counts as "nearly all"
_NAMED = 5  # nodes named in one line
_STARTING = 3.0  # seconds in which nothing need have arrived
_WAITS = {
    "resolving": "It waits for the origin to say what the reference means.",
    "waiting": "It waits for another process on this machine that is fetching the same files.",
    "materialising": "All bytes are here; the snapshot's files are being put in place.",
}


def explain(now: PullSnapshot, per_second: float | None = None) -> list[str]:
    """Lines to print. `per_second` is the present rate in bytes/s where it was measured."""
    what = "Download through the gateway" if now.gateway else "Pull"
    lines = [f"{what} {units.short_id(now.pull)} of {now.reference}: {now.state}, {units.duration(now.seconds)}"]
    if now.resolved:
        lines.append(f"  means     {now.resolved}")
    if now.size:
        lines.append(f"  bytes     {units.size(now.done)} of {units.size(now.size)}, {_shards(now)}")
        lines += _sources(now)
    lines += _parents(now)
    if now.path:
        lines.append(f"  path      {now.path}")
    lines += [f"  warning   {warning}" for warning in (now.stale, *now.warnings) if warning]
    lines += [f"  note      {note}" for note in now.notes]
    if now.error:
        lines.append(f"  error     {now.error.message}")
        if now.error.remedy:
            lines.append(f"  remedy    {now.error.remedy}")
    if sentence := bottleneck(now, per_second):
        lines.append(sentence)
    return lines


def explain_everywhere(pull: PullView) -> list[str]:
    """Lines about a pull on many nodes: how far they are, and each failure once with the nodes it hit."""
    until = pull.finished_at or max([pull.created_at, *(node.updated_at for node in pull.nodes)])
    took = units.duration(max(0.0, until - pull.created_at))
    lines = [f"Pull {units.short_id(pull.id)} of {pull.reference}: {pull.state}, {took}"]
    states = ", ".join(f"{count} {state}" for state, count in sorted(pull.states.items()))
    lines.append(f"  nodes     {states or 'none'}")
    for name, count in (("origin", pull.bytes.origin), ("peers", pull.bytes.peers), ("here", pull.bytes.local)):
        if count:
            lines.append(f"  {name:<9} {units.size(count)}")
    for node in pull.nodes:
        if node.state not in FINAL:
            lines.append(f"  waits for {node.node}: {_progress(node)}")
    failures: dict[tuple[str, str], list[str]] = {}
    for node in pull.nodes:
        if node.error:
            failures.setdefault((node.error.message, node.error.remedy), []).append(node.node)
    for (message, remedy), nodes in sorted(failures.items(), key=lambda failure: -len(failure[1])):
        lines.append(f"  error     {message} ({_some(nodes)})")
        if remedy:
            lines.append(f"  remedy    {remedy}")
    return lines


def _some(nodes: list[str]) -> str:
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return ", ".join(nodes[:_NAMED]) + more


def _progress(node: PullNodeView) -> str:
    if not node.bytes.total:
        return node.state
    done = node.bytes.origin + node.bytes.peers + node.bytes.local
    return f"{node.state}, {units.size(done)} of {units.size(node.bytes.total)}"


def bottleneck(now: PullSnapshot, per_second: float | None = None) -> str:
    """One sentence about what limits the pull, or limited it; empty where that cannot be told from a snapshot."""
    if now.state in FINAL:
        return _looking_back(now)
    return _WAITS.get(now.state) or _fetching(now, per_second)


def _fetching(now: PullSnapshot, per_second: float | None) -> str:
    fetched = now.origin + now.peers
    if per_second == 0 and now.seconds > _STARTING:
        reason = f" The last thing noted: {now.notes[-1]}" if now.notes else ""
        return f"Nothing arrives at the moment.{reason}"
    if not fetched:
        return "" if now.seconds < _STARTING else "No byte has arrived yet."
    speed = units.rate(per_second if per_second else fetched / now.seconds)
    if now.origin >= _MOST * fetched:
        return f"Nearly everything is read from the origin, at {speed}: its link sets the pace."
    if now.peers >= _MOST * fetched:
        return (
            f"Nearly everything comes from {_nodes(now)}, at {speed}: their uplinks or this node's link set the pace."
        )
    share = round(100 * now.origin / fetched)
    return f"The origin gives {share}% and {_nodes(now)} the rest, together {speed}."


def _looking_back(now: PullSnapshot) -> str:
    if now.state != "done" or not now.size:
        return ""
    fetched = now.origin + now.peers
    if not fetched:
        return "It was here already: nothing was fetched."
    speed = units.rate(fetched / now.seconds) if now.seconds else "any rate"
    where = "the origin" if not now.peers else _nodes(now) if not now.origin else f"the origin and {_nodes(now)}"
    return f"It came from {where} at {speed} on average."


def _shards(now: PullSnapshot) -> str:
    complete = sum(shard.complete for shard in now.shards)
    return f"{complete} of {len(now.shards)} files complete"


def _sources(now: PullSnapshot) -> list[str]:
    lines = []
    for name, count in (("origin", now.origin), ("peers", now.peers), ("here", now.local)):
        if count:
            rate = f" ({units.rate(count / now.seconds)})" if name != "here" and now.seconds else ""
            by = f", {units.size(now.rdma)} by RDMA" if name == "peers" and now.rdma else ""
            of = f", {units.size(now.reused)} of it from other versions" if name == "here" and now.reused else ""
            lines.append(f"  {name:<9} {units.size(count)}{rate}{by}{of}")
    if now.index:
        lines.append(f"  index     {units.size(now.index)} read to find what other versions have")
    return lines


def _parents(now: PullSnapshot) -> list[str]:
    total = sum(parent.bytes for parent in now.parents)
    largest = sorted(now.parents, key=lambda parent: -parent.bytes)
    return [
        f"  parent    {parent.node}: {units.size(parent.bytes)}, {100 * parent.bytes / total:.0f}% of the peers' bytes"
        for parent in largest
        if total
    ]


def _nodes(now: PullSnapshot) -> str:
    if len(now.parents) == 1:
        return f"node {now.parents[0].node}"
    return f"{len(now.parents)} nodes" if now.parents else "other nodes"
