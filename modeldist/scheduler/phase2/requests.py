"""Requests to parents: the free part of the window is filled with the best next ones; answers and losses free it.

Work per event does not grow with the number of tasks: each parent's link keeps the tasks that may have something to
fetch there (`ParentLink.ready`), and strikes those off that turn out to have nothing.
"""

from __future__ import annotations

import random

from modeldist.artifact import Digest
from modeldist.scheduler.phase2 import messages as m
from modeldist.scheduler.phase2.choice import Shares, Window, guess_goodput, usual_goodput
from modeldist.scheduler.phase2.config import Phase2Config
from modeldist.scheduler.phase2.fetch import Fetch
from modeldist.scheduler.phase2.parent import ParentLink, Request
from modeldist.scheduler.phase2.tail import late_requests, stalled_links


class Requests:
    """Shares tasks, links and outgoing instructions with `Phase2`."""

    def __init__(
        self,
        config: Phase2Config,
        rng: random.Random,
        tasks: dict[Digest, Fetch],
        links: dict[str, ParentLink],
        out: list[m.Instruction],
    ) -> None:
        self._config = config
        self._rng = rng
        self._tasks = tasks
        self._links = links
        self._out = out
        self._shares = Shares(config.weights)
        self._open: dict[str, ParentLink] = {}  # links with tasks that may have something to fetch
        self._guess = 0.0  # 0: to be found anew, since some goodput was measured
        self._usual = 0.0  # found with it
        self.stirred = False  # something happened since the last fill that may allow another request
        self.window = Window(config)

    # --- what may be fetched where ---------------------------------------------------------------------------------

    def mark(self, fetch: Fetch, link: ParentLink) -> None:
        """There may be something of the task to fetch at this parent."""
        if link.connected and not fetch.complete:
            link.ready[fetch.priority_class].setdefault(fetch.task)
            self._open[link.node] = link
            # Without room, the answer that makes some will stir.
            size = fetch.layout.piece_size
            self.stirred |= self.window.has_room(size) and link.has_room(size, self._usual if self._guess else 0.0)

    def mark_all(self, fetch: Fetch) -> None:
        for node in fetch.holders:
            self.mark(fetch, self._links[node])

    def unmark(self, fetch: Fetch) -> None:
        for node in fetch.holders:
            for ready in self._links[node].ready:
                ready.pop(fetch.task, None)

    # --- filling the window ----------------------------------------------------------------------------------------

    def fill(self, now: float) -> None:
        """Send the best requests until the window is full or nothing can be asked of anybody."""
        self.stirred = False
        if not self._open:
            return
        if not self._guess:
            self._guess = guess_goodput(self._links.values())
            self._usual = usual_goodput(self._links.values())
        guess = self._guess
        while self.window.in_flight < self._config.max_in_flight and self.window.within_limit(now):
            best = self._best(now, guess)
            if best is None:
                return
            link, fetch, open_ = best
            piece = fetch.choose(open_, link.node, self._rng, slow=link.slow(self._usual))
            # Tasks of one class take turns.
            ready = link.ready[fetch.priority_class]
            del ready[fetch.task]
            ready[fetch.task] = None
            self._shares.used(fetch.priority_class, fetch.layout.length(piece))
            self._send(fetch, piece, link, now, guess)

    def _best(self, now: float, guess: float) -> tuple[ParentLink, Fetch, int] | None:
        """The parent that would finish one more piece first, among those connected, not resting, with room; the task
        whose turn it is there, and the pieces of it to choose from."""
        best: tuple[ParentLink, Fetch, int] | None = None
        best_score = float("inf")
        roomless = 1 << 62  # the smallest size found not to fit the window
        for link in list(self._open.values()):
            if not link.connected:
                del self._open[link.node]
                continue
            if link.not_before > now:
                continue
            while (fetch := self._next_task(link)) is not None:
                size = fetch.layout.piece_size
                score = (link.outstanding + size) / (link.goodput or guess)
                if score >= best_score or size >= roomless or not link.has_room(size, self._usual):
                    break
                if not self.window.has_room(size):
                    roomless = size
                    break
                if open_ := fetch.fetchable(link.node, now, self._config.patience, slow=link.slow(self._usual)):
                    best, best_score = (link, fetch, open_), score
                    break
                del link.ready[fetch.priority_class][fetch.task]
        return best

    def _next_task(self, link: ParentLink) -> Fetch | None:
        """Whose turn it is at `link`, of the tasks that may have something to fetch there."""
        waiting = [ready for ready in link.ready if ready]
        if len(waiting) == 1:
            return self._tasks[next(iter(waiting[0]))]
        if not waiting:
            self._open.pop(link.node, None)
            return None
        classes = [cls for cls, ready in enumerate(link.ready) if ready]
        return self._tasks[next(iter(link.ready[self._shares.pick(classes)]))]

    def _send(self, fetch: Fetch, piece: int, link: ParentLink, now: float, guess: float) -> None:
        size = fetch.layout.length(piece)
        request = Request(fetch.task, piece, link.node, size, now, link.expected(size, guess))
        request.spare = fetch.stripes is not None and not fetch.stripes.brings(link.node)
        link.send(request)
        fetch.sent(request)
        self.window.in_flight += size
        self.window.pay(size, now)
        awaited = fetch.awaited_from(link.node) or (link.slow(self._usual) and fetch.only_at_one(piece))
        self._out.append(m.FetchFromPeer(fetch.task, piece, link.node, awaited))

    # --- answers and losses ----------------------------------------------------------------------------------------

    def answered(self, task: Digest, piece: int, node: str) -> Request | None:
        """None when the request was written off before."""
        link = self._links.get(node)
        request = link.drop(task, piece) if link is not None else None
        if request is not None:
            self._ended(request)
        return request

    def _ended(self, request: Request) -> None:
        self.window.in_flight -= request.size
        self._guess = 0.0
        self.stirred = True
        if (fetch := self._tasks.get(request.task)) is not None:
            fetch.answered(request)
            if request.spare:
                self.mark_all(fetch)

    def write_off(self, link: ParentLink, task: Digest | None = None) -> list[Request]:
        """The requests there (of one task, or all) will not be answered: their pieces are free again."""
        lost = [request for request in link.requests.values() if task in (None, request.task)]
        for request in lost:
            link.drop(request.task, request.piece)
            self._ended(request)
        for name in dict.fromkeys(request.task for request in lost):
            if (fetch := self._tasks.get(name)) is not None:
                self.mark_all(fetch)
        return lost

    def look_for_trouble(self, now: float) -> None:
        """Connections that stand still are cut, to be opened anew after a while; late last pieces are asked of another
        parent as well."""
        guess, usual = guess_goodput(self._links.values()), usual_goodput(self._links.values())
        for link in stalled_links(self._links.values(), now):
            link.failed(now)
            link.connected = False
            self.write_off(link)
            self._out.append(m.Disconnect(link.node))
        for request, link in late_requests(self._links, self._tasks, self._config, now, guess=guess, usual=usual):
            self._send(self._tasks[request.task], request.piece, link, now, guess)
