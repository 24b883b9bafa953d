"""From where the time of a pull went to what holds it up, or held it up: one bottleneck, numbers, one remedy. Pure.

The rules, first that holds:

    failed        the error's own code says of what
    not fetching  what its state waits for
    fetching      what it waited for in most of the last ten seconds; of parents, whether it is the one that is slow,
                  this node's link, or that RDMA is missing
    done          the same, of all of its time

Nothing is named where nothing takes half of the time, or where bytes come as fast as the link brings them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from modeldist.errors import ErrorInfo, PullFailed
from modeldist.explain import remedies
from modeldist.explain.account import grouped
from modeldist.explain.record import Around, Where
from modeldist.units import duration, rate, short_id, size
from modeldist.uploads import Uploads

Bottleneck = Literal[
    "origin",
    "origin_limit",
    "parent",
    "upload_limit",
    "upstream",
    "disk",
    "disk_full",
    "own_link",
    "download_limit",
    "verification",
    "rdma",
    "credentials",
    "control_plane",
    "queue",
    "other_process",
    "agent_away",
    "integrity",
    "not_found",
    "trust",
    "unsupported",
    "request",
    "deadline",
    "agent",
    "other",
]

_HALF = 0.5  # of the time; what takes less is not what holds a pull up
_BINDS = 1 / 3  # of the time; nobody waits for a limit that does not bind, whatever else is waited for in between
_FULL = 0.85  # of a link; headers, acknowledgements and others take the rest
_PATIENCE = 3.0  # seconds in which nothing need have arrived
_STILL = 10.0  # seconds after which a pull stands
_SLOWER = 2.0  # times; a parent beside the others
_FAST = 300e6  # bytes/s where nobody says how fast the link is: more than 1 Gbit/s by far, and most disks
_TOO_SHORT = 0.5  # seconds of a pull that say nothing
_ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Facts:
    """A pull on one node. Times in seconds, sizes in bytes. `names`: of nodes, by id; `uploads`: what is known of
    theirs; `upstream`: what holds up the nodes that have what this one waits for, where that is known. `away`: the node
    has no session with the control plane."""

    state: str
    seconds: float
    size: int = 0
    origin: int = 0
    peers: int = 0
    local: int = 0
    error: ErrorInfo | None = None
    where: Where | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    uploads: Mapping[str, Uploads] = field(default_factory=dict)
    upstream: Explanation | None = None
    away: bool = False

    def name(self, node: str) -> str:
        return self.names.get(node) or short_id(node)


@dataclass(frozen=True)
class Explanation:
    """`summary` is a sentence, `evidence` others with numbers; `remedy` a setting or a command, None where there is
    nothing to do. `bottleneck` None: nothing in particular."""

    bottleneck: Bottleneck | None
    summary: str
    evidence: tuple[str, ...] = ()
    remedy: str | None = None


def explain(facts: Facts) -> Explanation:
    if facts.state == "failed":
        return _failed(facts, facts.error or _UNSAID)
    if facts.state == "cancelled":
        return Explanation(None, "It was stopped.", tuple(_kept(facts)), "Pull again to resume: what is here stays.")
    if facts.state == "done":
        return _looking_back(facts)
    if facts.away:
        return _away(facts)
    where = facts.where
    if where is None or where.window < _TOO_SHORT:
        return _not_looked_at(facts)
    return _most_waited_for(facts, where, where.lately, now=True)


# --- it ended ------------------------------------------------------------------------------------------------------

_OF_ERRORS: dict[str, Bottleneck] = {
    "unauthorized": "credentials",
    "access_denied": "credentials",
    "rate_limited": "origin_limit",
    "origin": "origin",
    "origin_unavailable": "origin",
    "origin_protocol": "origin",
    "not_enough_space": "disk_full",
    "storage": "disk",
    "store_not_writable": "disk",
    "store_damaged": "disk",
    "shard_locked": "other_process",
    "control_unreachable": "control_plane",
    "control_refused": "credentials",
    "control": "control_plane",
    "not_leading": "control_plane",
    "overloaded": "queue",
    "share_used_up": "queue",
    "integrity": "integrity",
    "unsafe_artifact": "integrity",
    "not_found": "not_found",
    "untrusted": "trust",
    "invalid_policy": "trust",
    "unsupported": "unsupported",
    "usage": "request",
    "invalid_reference": "request",
    "deadline_exceeded": "deadline",
    "agent": "agent",
    "not_ready": "agent",
}
"""`pull_failed` is not among them: it says itself that nothing else fits."""


_UNSAID = ErrorInfo(PullFailed.code, "It failed, and its agent did not say why.")


def _failed(facts: Facts, error: ErrorInfo) -> Explanation:
    found = _OF_ERRORS.get(error.code, "other")
    evidence = [f"The error is {error.code}, after {duration(facts.seconds)}.", *_kept(facts)]
    said = remedies.OF_FAILED.get(found)
    if said is not None:
        some_came, nothing_came = said
        evidence.append(some_came if facts.origin + facts.peers + facts.local else nothing_came)
    if found == "deadline" and (where := facts.where) is not None and (total := sum(where.waits.values())):
        evidence.append(_shares(grouped(where.waits), total, None))
    return Explanation(
        found,
        error.message,
        tuple(filter(None, evidence)),
        error.remedy or remedies.FOR.get(found, remedies.WHEN_FAILED),
    )


def _kept(facts: Facts) -> list[str]:
    """What of it had come, where that is known."""
    done = facts.origin + facts.peers + facts.local
    return [f"{size(done)} of {size(facts.size)} were here by then, and stay."] if facts.size else []


def what_held(found: Bottleneck | None) -> str:
    """What held up a pull that ended before it was done; the same for all its nodes that were held up by it. Empty
    where that is nothing in particular."""
    return remedies.HELD.get(found or "", "")


def _looking_back(facts: Facts) -> Explanation:
    fetched = facts.origin + facts.peers
    if not fetched:
        return Explanation(None, "It is done: it was here already, and nothing was fetched.")
    average = fetched / facts.seconds if facts.seconds else 0.0
    named = [name for name, count in (("the origin", facts.origin), ("other nodes", facts.peers)) if count]
    took = f"in {duration(facts.seconds)}, {rate(average)} on average"
    came = f"It is done: {size(fetched)} came from {' and '.join(named)} {took}."
    where = facts.where
    if where is None or not where.waits or facts.seconds < _TOO_SHORT:
        mixed = sum(map(bool, (facts.origin, facts.peers, facts.local))) > 1
        return Explanation(None, came, (_sources(facts, now=False),) if mixed else ())
    found = _most_waited_for(facts, where, where.waits, now=False)
    return Explanation(found.bottleneck, f"{came} {found.summary}", found.evidence, found.remedy)


# --- it runs -------------------------------------------------------------------------------------------------------


def _away(facts: Facts) -> Explanation:
    if facts.state == "waiting":
        summary = "The node is not connected to the control plane, and has not begun."
    else:
        summary = "The node is not connected to the control plane: what it does now is not known."
    return Explanation("agent_away", summary, (), remedies.FOR["agent_away"])


def _not_looked_at(facts: Facts) -> Explanation:
    if facts.state == "waiting":
        return Explanation(None, "The node was asked, and has not said anything yet.")
    return Explanation(None, f"It is {facts.state} since {duration(facts.seconds)}: too short to tell.")


def _most_waited_for(  # noqa: PLR0911 - one for each rule
    facts: Facts, where: Where, waits: Mapping[str, float], *, now: bool
) -> Explanation:
    groups = grouped(waits)
    total = sum(groups.values())
    if not total:
        return _not_looked_at(facts)
    top = max(groups, key=lambda wait: groups[wait])
    share = groups[top] / total
    shares = _shares(groups, total, where.window if now else None)
    if groups.get("download_limit", 0.0) >= _BINDS * total or _at_the_limit(facts, where, now=now):
        return _plain(facts, where, "download_limit", shares, now=now)
    if now and top in ("parent", "origin") and (full := _own_link(where.around, shares)):
        return full
    if share < _HALF:
        return Explanation(
            None,
            f"Nothing in particular {_holds(now)}: {_at(facts, where, now=now)}.",
            (shares, _sources(facts, now=now)),
        )
    if (rest := _resting(facts, where, top, shares, now=now)) is not None:
        return rest
    if top == "origin":
        return _origin(facts, where, share, shares, now=now)
    if top == "parent":
        return _parent(facts, where, waits, shares, now=now)
    return _plain(facts, where, top, shares, now=now)


def _holds(now: bool) -> str:
    return "holds it up" if now else "held it up"


def _at(facts: Facts, where: Where, *, now: bool) -> str:
    speed = _rate(facts, where, now=now)
    if not speed:
        return "nothing arrives yet" if now else "it came at once"
    return f"it {'comes' if now else 'came'} at {rate(speed)}"


def _shares(groups: Mapping[str, float], total: float, window: float | None) -> str:
    parts = sorted(groups.items(), key=lambda each: -each[1])
    told = ", ".join(f"{seconds / total:.0%} {remedies.waited(wait)}" for wait, seconds in parts[:3] if seconds)
    return f"Of the last {duration(window)}: {told}." if window is not None else f"Of its time: {told}."


def _sources(facts: Facts, *, now: bool) -> str:
    named = (("the origin", facts.origin), ("other nodes", facts.peers), ("this node", facts.local))
    told = ", ".join(f"{size(count)} from {name}" for name, count in named if count)
    when = "So far" if now else "In all"
    return f"{when} {told}." if told else "Nothing has come so far."


def _own_link(around: Around, shares: str) -> Explanation | None:
    if around.link is None or around.link_speed is None or around.link < _FULL:
        return None
    speed = rate(around.link_speed)
    return Explanation(
        "own_link",
        f"This node's link is full: {around.link:.0%} of {speed}. It cannot come faster.",
        (shares,),
        remedies.FOR["own_link"],
    )


def _at_the_limit(facts: Facts, where: Where, *, now: bool) -> bool:
    """Whether it comes as fast as this node lets it, wherever it is waited for."""
    limit = where.around.download_limit
    return limit is not None and _rate(facts, where, now=now) >= _FULL * limit


def _rate(facts: Facts, where: Where, *, now: bool) -> float:
    if now:
        return where.rate
    return (facts.origin + facts.peers) / facts.seconds if facts.seconds else 0.0


def _healthy(facts: Facts, where: Where, *, now: bool) -> bool:
    """Whether it comes, or came, as fast as one may expect where nothing is known to be slow."""
    slack = now and where.around.link is not None and where.around.link < _HALF
    return _rate(facts, where, now=now) >= _FAST and not slack


def _fine(facts: Facts, where: Where, thing: str, shares: str, *, now: bool) -> Explanation:
    said = f"Nothing is wrong: {_at(facts, where, now=now)}, as fast as {thing} it."
    return Explanation(None, said, (shares, _sources(facts, now=now)))


def _origin(facts: Facts, where: Where, share: float, shares: str, *, now: bool) -> Explanation:
    name = where.origin or "The origin"
    brings = where.rates.get("origin", 0.0)
    if _healthy(facts, where, now=now):
        return _fine(facts, where, f"{name} gives", shares, now=now)
    evidence = [shares]
    if now:
        gives = f"{rate(brings)}" if brings else "nothing"
        evidence.append(f"{name} gives this node {gives}, since {duration(where.since)}.")
        if not brings and where.still > _STILL:
            evidence.append(f"Nothing has come for {duration(where.still)}.")
    evidence += _idle(where.around)
    said = "nothing" if now and not brings else "too little"
    summary = f"The origin holds it up: {name} gives {said}." if now else f"The origin held it up: {name}."
    if where.trouble:
        evidence.append(f"What it said last: {where.trouble}")
    return Explanation("origin", summary, tuple(evidence), remedies.FOR["origin"])


def _resting(facts: Facts, where: Where, top: str, shares: str, *, now: bool) -> Explanation | None:
    """Between two tries at an origin that refuses."""
    if top != "origin_pause":
        return None
    name = where.origin or "The origin"
    limited = where.trouble.startswith("rate_limited")
    evidence = [shares, f"What it said last: {where.trouble}"] if where.trouble else [shares]
    if now:
        evidence += [f"So since {duration(where.since)}.", _sources(facts, now=now)]
    if limited:
        summary = f"{name} asks for fewer requests, and is asked again later."
        return Explanation("origin_limit", summary, tuple(evidence), remedies.FOR["origin_limit"])
    return Explanation(
        "origin", f"{name} fails, and is tried again and again.", tuple(evidence), remedies.FOR["origin"]
    )


def _parent(facts: Facts, where: Where, waits: Mapping[str, float], shares: str, *, now: bool) -> Explanation:
    parents = {wait.partition(":")[2]: seconds for wait, seconds in waits.items() if wait.startswith("parent:")}
    if not where.around.rdma and _healthy(facts, where, now=now):
        return _fine(facts, where, f"{_nodes(facts, list(parents))} can send", shares, now=now)
    slow = _slow_ones(parents, where.rates if now else {})
    evidence = [shares, *(_gives(facts, where, node) for node in slow[:3] if now)]
    others = [where.rates[node] for node in where.rates if node not in slow and node != "origin"]
    if now and others:
        evidence.append(f"The other parents give {rate(max(others))} each, at most.")
    evidence += _idle(where.around)
    limited = {node: facts.uploads[node] for node in slow if node in facts.uploads}
    capped = {node: known for node, known in limited.items() if known.limited >= _HALF and known.limit}
    if capped and now:
        node, known = next(iter(capped.items()))
        evidence.append(
            f"The uploads of node {facts.name(node)} wait for their limit in {known.limited:.0%} of the time."
        )
        return Explanation(
            "upload_limit",
            f"Node {facts.name(node)} sends no more than its upload limit of {rate(known.limit or 0.0)}.",
            tuple(evidence),
            f"Raise or drop --upload-rate (MODELDIST_AGENT_UPLOAD_RATE) of the agent on {facts.name(node)}.",
        )
    if where.around.rdma:
        return Explanation(
            "rdma",
            f"RDMA is missing: pieces come over TCP, at {rate(where.rate)}." if now else "RDMA was missing.",
            (*evidence, where.around.rdma),
            remedies.FOR["rdma"],
        )
    names = _nodes(facts, slow)
    many = len(slow) > 1
    return Explanation(
        "parent",
        f"{names} {'hold' if many else 'holds'} it up: this node waits for what {'they send' if many else 'it sends'}."
        if now
        else f"{names} held it up.",
        tuple(evidence),
        remedies.parent(facts.name(slow[0]) if slow else ""),
    )


def _slow_ones(parents: Mapping[str, float], rates: Mapping[str, float]) -> list[str]:
    """The parents that are waited for and give far less than the best; all, the most waited for first, where none
    stands out."""
    ordered = sorted(parents, key=lambda node: -parents[node])
    best = max((rates.get(node, 0.0) for node in ordered), default=0.0)
    slow = [node for node in ordered if rates.get(node, 0.0) * _SLOWER <= best]
    return slow if rates and slow and len(slow) < len(ordered) else ordered


def _gives(facts: Facts, where: Where, node: str) -> str:
    return f"Node {facts.name(node)} gives this node {rate(where.rates.get(node, 0.0))}, since {duration(where.since)}."


def _nodes(facts: Facts, nodes: list[str]) -> str:
    named = [facts.name(node) for node in nodes[:3]]
    if not named:
        return "Other nodes"
    if len(nodes) == 1:
        return f"Node {named[0]}"
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    return "Nodes " + ", ".join(named) + more


def _idle(around: Around) -> list[str]:
    """That this node has time, where that is known."""
    known = (("link", around.link), ("disk", around.disk), ("processor", around.cpu))
    told = [f"{name} {used:.0%}" for name, used in known if used is not None]
    return [f"In use on this node: {', '.join(told)}."] if told else []


_PLAIN: dict[str, Bottleneck] = {
    "disk": "disk",
    "verify": "verification",
    "checks": "verification",
    "download_limit": "download_limit",
    "pieces": "upstream",
    "room": "queue",
    "control": "control_plane",
    "resolve": "origin",
    "other": "other_process",
}


def _plain(facts: Facts, where: Where, top: str, shares: str, *, now: bool) -> Explanation:
    found = _PLAIN.get(top)
    around = where.around
    if found is None or (top == "resolve" and facts.seconds < _PATIENCE):
        return Explanation(None, f"Nothing in particular {_holds(now)}: {_at(facts, where, now=now)}.", (shares,))
    evidence = [shares]
    if now:
        evidence.append(f"It comes at {rate(where.rate)}." if where.rate else "Nothing comes.")
        evidence.append(f"So since {duration(where.since)}.")
    remedy = remedies.FOR.get(found)
    summary = remedies.SAID[found] if now else remedies.OF_ENDED.get(found, remedies.SAID[found])
    if found == "download_limit":
        limit = f" of {rate(around.download_limit)}" if around.download_limit else ""
        summary = f"This node's download limit{limit} {_holds(now)}."
    elif found == "control_plane" and around.control:
        evidence.append(around.control)
    elif found == "disk":
        summary = f"This node's disk {_holds(now)}: what comes waits to be written."
        evidence += _idle(around)
    elif found == "verification":
        summary = f"Checking digests {_holds(now)}: this node's processor is the limit."
        evidence += _idle(around)
    elif found == "upstream":
        if facts.upstream is not None and facts.upstream.bottleneck not in (None, "upstream"):
            above = facts.upstream
            return Explanation(
                above.bottleneck, f"Upstream of it: {above.summary}", (*evidence, *above.evidence), above.remedy
            )
    elif top == "resolve":
        says = "does not say" if now else "took its time to say"
        summary = f"{where.origin or 'The origin'} {says} what the reference means."
    return Explanation(found, summary, tuple(evidence), remedy)
