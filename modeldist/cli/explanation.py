"""A pull in sentences: where it stands, where its bytes come from, what went wrong, and what holds it up now. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modeldist.agent.progress import PullSnapshot
from modeldist.cli import units
from modeldist.explain import Explanation, Facts
from modeldist.explain import explain as decide

if TYPE_CHECKING:
    from modeldist.control.views import PullView, WhyNodeView, WhyView

_NAMED = 5  # nodes named in one line


def why(now: PullSnapshot) -> Explanation:
    """What holds the pull up, or held it up."""
    return decide(
        Facts(
            state=now.state,
            seconds=now.seconds,
            size=now.size,
            origin=now.origin,
            peers=now.peers,
            local=now.local,
            error=now.error,
            where=now.where,
            names={node: called(now, node) for node in now.addresses},
        )
    )


def called(now: PullSnapshot, node: str) -> str:
    """A parent, as this machine knows it: names are the control plane's."""
    address = now.addresses.get(node)
    return f"{units.short_id(node)} at {address}" if address else node


def explain(now: PullSnapshot) -> list[str]:
    """Lines to print."""
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
    found = why(now)
    lines += explained(found, summary="" if now.error and now.error.message == found.summary else found.summary)
    return lines


def explained(found: Explanation | WhyNodeView, *, summary: str) -> list[str]:
    lines = [f"  because   {summary}"] if summary else []
    lines += [f"  measured  {sentence}" for sentence in found.evidence]
    if found.remedy:
        lines.append(f"  remedy    {found.remedy}")
    return lines


def explain_everywhere(pull: PullView, whys: WhyView) -> list[str]:
    """Lines about a pull on many nodes: how far they are, and what holds them up, each cause once, with its
    nodes."""
    until = pull.finished_at or max([pull.created_at, *(node.updated_at for node in pull.nodes)])
    took = units.duration(max(0.0, until - pull.created_at))
    lines = [f"Pull {units.short_id(pull.id)} of {pull.reference}: {pull.state}, {took}"]
    states = ", ".join(f"{count} {state}" for state, count in sorted(pull.states.items()))
    lines.append(f"  nodes     {states or 'none'}")
    for name, count in (("origin", pull.bytes.origin), ("peers", pull.bytes.peers), ("here", pull.bytes.local)):
        if count:
            lines.append(f"  {name:<9} {units.size(count)}")
    causes: dict[tuple[str, str | None, str], list[WhyNodeView]] = {}
    for node in whys.nodes:
        told = node.summary if node.state == "failed" else ""  # numbers differ from node to node
        causes.setdefault((node.state, node.bottleneck, told), []).append(node)
    for nodes in sorted(causes.values(), key=lambda nodes: (nodes[0].state == "done", -len(nodes))):
        first = nodes[0]
        unknown = first.state == "done" and first.bottleneck is None  # or nothing held it up; its node knows
        held = "" if unknown else f", {first.bottleneck or 'nothing in particular'}"
        lines.append(f"{first.state}{held}: {_some(nodes)}")
        if len(nodes) > 1:
            lines.append(f"  numbers   of {_some(nodes[:1])}; --json has those of the others")
        lines += explained(first, summary=first.summary)
        if unknown:
            lines.append(
                "  more      `modeldist why` on a node may say more; the control plane remembers that of its newest "
                "pulls alone."
            )
    return lines


def _some(nodes: list[WhyNodeView]) -> str:
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return ", ".join(node.name or units.short_id(node.node) for node in nodes[:_NAMED]) + more


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
        f"  parent    {called(now, parent.node)}: "
        f"{units.size(parent.bytes)}, {100 * parent.bytes / total:.0f}% of the peers' bytes"
        for parent in largest
        if total
    ]
