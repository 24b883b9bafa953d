"""A picture of this machine's agent."""

from __future__ import annotations

import time
from typing import Any

from modeldist.agent.local_client import LocalAgent
from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.cli import units
from modeldist.cli.explanation import why
from modeldist.cli.rate_meter import RateMeter
from modeldist.cli.top.picture import FeedRow, Picture, PullRow

_HALF = 0.5  # of the time


class Local:
    """`look` again and again; what is sent has a rate from the second time on."""

    def __init__(self, agent: LocalAgent) -> None:
        self._agent = agent
        self._sent = RateMeter()

    def look(self) -> Picture:
        """Raises AgentError."""
        about, pulls = self._agent.status(), self._agent.pulls()
        self._sent.add(time.monotonic(), about["bytes_sent"])
        return picture(about, pulls, self._sent.per_second)


def picture(about: dict[str, Any], pulls: list[PullSnapshot], sent: float) -> Picture:
    """`about` is what GET /v1/status answers."""
    running = [pull for pull in pulls if pull.state not in FINAL]
    rates = [pull.where.rates for pull in running if pull.where]
    feeds: dict[str, float] = {}
    for each in rates:
        for source, speed in each.items():
            feeds[source] = feeds.get(source, 0.0) + speed
    name = about["name"] or units.short_id(about["node"])
    addresses = {node: address for pull in running for node, address in pull.addresses.items()}
    ordered = tuple((addresses.get(node, node), rate) for node, rate in sorted(feeds.items(), key=lambda fed: -fed[1]))
    return Picture(
        title=f"Agent {name}, {units.counted(len(running), 'pull')} running",
        received=sum(feeds.values()),
        sent=sent,
        notes=_notes(about),
        pulls=tuple(_row(pull) for pull in reversed(running)),
        feeds=(FeedRow(node=name, parents=ordered),) if ordered else (),
    )


def _notes(about: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if not about["connected"]:
        notes.append(f"no session with the control plane: {about['control_error'] or 'none yet'}")
    uploads = about.get("uploads") or {}
    if uploads.get("limit") and uploads.get("limited", 0.0) >= _HALF:
        limit = units.rate(uploads["limit"])
        notes.append(f"uploads wait for their limit of {limit} in {uploads['limited']:.0%} of the time (--upload-rate)")
    around = about.get("around") or {}
    used = [f"{name} {around[name]:.0%}" for name in ("link", "disk", "cpu") if around.get(name) is not None]
    if used:
        notes.append(f"in use: {', '.join(used)}")
    return tuple(notes)


def _row(pull: PullSnapshot) -> PullRow:
    rates = pull.where.rates if pull.where else {}
    return PullRow(
        pull=pull.pull,
        reference=pull.reference,
        state=pull.state,
        size=pull.size,
        done=pull.done,
        origin=rates.get("origin", 0.0),
        peers=sum(speed for source, speed in rates.items() if source != "origin"),
        bottleneck=why(pull).bottleneck,
    )
