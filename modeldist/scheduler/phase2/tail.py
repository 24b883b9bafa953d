"""What time alone reveals: requests that are late, and parents that stand still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modeldist.artifact import Digest
from modeldist.scheduler.phase2.config import Phase2Config
from modeldist.scheduler.phase2.fetch import Fetch
from modeldist.scheduler.phase2.parent import ParentLink, Request


def stalled_links(links: Iterable[ParentLink], now: float) -> list[ParentLink]:
    return [link for link in links if link.stalled(now)]


def late_requests(
    links: dict[str, ParentLink],
    tasks: dict[Digest, Fetch],
    config: Phase2Config,
    now: float,
    *,
    guess: float,
    usual: float,
) -> Iterator[tuple[Request, ParentLink]]:
    """Requests to send a second time, each with the parent to ask: only the last few pieces of a task, only when late
    against what was expected, never a third time, and only where it is expected sooner than it is late."""
    for link in list(links.values()):
        for request in list(link.requests.values()):
            late = now - request.sent > config.hedge_after * request.expected + config.hedge_slack
            fetch = tasks.get(request.task) if late else None
            if fetch is None or len(fetch.requests.get(request.piece, ())) != 1:
                continue
            if fetch.missing.bit_count() > config.hedge_pieces:
                continue
            if other := _other_holder(request, fetch, links, now, guess, usual):
                yield request, other


def _other_holder(
    request: Request, fetch: Fetch, links: dict[str, ParentLink], now: float, guess: float, usual: float
) -> ParentLink | None:
    bit = 1 << request.piece
    others = [
        links[node]
        for node, held in fetch.holders.items()
        if node != request.node and held & bit and not fetch.excluded.get(node, 0) & bit
    ]
    usable = [
        link for link in others if link.connected and link.not_before <= now and link.has_room(request.size, usual)
    ]
    return min(usable, key=lambda link: link.expected(request.size, guess), default=None)
