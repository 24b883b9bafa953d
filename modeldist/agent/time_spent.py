"""What the pulls of this node wait for, looked at on every tick of the engine: nothing is added to what moves bytes.

Who reads under a lease, reads small files whole, or reads a parent's connection is asked where it stands
(`modeldist.explain.waits`). A pull for which nobody moves anything waits for what its state says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from modeldist.agent.lease_reads import LeaseReads
from modeldist.agent.node import Node
from modeldist.agent.parents import Parents
from modeldist.agent.progress import FINAL
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.whole_reads import WholeReads
from modeldist.explain import Account, standing
from modeldist.explain.waits import Wait, met_by
from modeldist.uploads import Uploads

_COUNTED_EVERY = 5  # looks, for the bytes of shards that are fetched, of which there may be hundreds
_FEW = 8  # which are counted at every look
_UPLOADS_LATELY = 0.05  # weight of one look at them; ten a second
_STATES: dict[str, Wait] = {"resolving": "resolve", "waiting": "other", "materialising": "disk"}

Stands = Mapping[int, Wait]


@dataclass(eq=False)
class _Open:
    account: Account
    state: Callable[[], str]
    seen: Counter[str] = field(default_factory=Counter)  # how many wait for what, at this look
    came: Counter[str] = field(default_factory=Counter)  # bytes by source, since the look before


class TimeSpent:
    """Loop thread only. `held_back`: by the download limit; `connected`: to the control plane; `serving`: requests of
    other nodes; `upload_limit` in bytes/s; `clock` in seconds."""

    def __init__(
        self,
        node: Node,
        leases: LeaseReads,
        whole: WholeReads,
        parents: Parents,
        *,
        held_back: Callable[[], bool],
        connected: Callable[[], bool],
        serving: Callable[[], int],
        upload_limit: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._node = node
        self._leases = leases
        self._whole = whole
        self._parents = parents
        self._held_back = held_back
        self._connected = connected
        self._serving = serving
        self._upload_limit = upload_limit
        self._limited = 0.0
        self._clock = clock
        self._open: dict[str, _Open] = {}
        self._looks = 0
        self._counted: dict[ShardFetch, Counter[str]] = {}  # bytes by source, at the last look

    @property
    def uploads(self) -> Uploads:
        """What this node's uploads wait for."""
        return Uploads(self._upload_limit, round(self._limited, 3))

    def account(self, pull: str, state: Callable[[], str]) -> Account:
        """Of a pull that begins, which is looked at until its `state` is final."""
        account = Account(self._clock())
        self._open[pull] = _Open(account, state)
        return account

    def look(self) -> None:
        """Some time has passed."""
        serving = self._serving()
        if not (self._open or serving):
            return
        stands = standing()
        if serving:
            self._look_at_uploads(stands)
        if self._open:
            self._look_at_pulls(stands, self._clock())

    def _of(self, wanted_by: str) -> _Open | None:
        """What is read through the gateway is wanted by the download's id and one of its own behind it."""
        return self._open.get(wanted_by.partition("-")[0])

    def _look_at_uploads(self, stands: Stands) -> None:
        waits = Counter(stands.values())
        if busy := waits["upload_limit"] + waits["sending"]:
            self._limited += _UPLOADS_LATELY * (waits["upload_limit"] / busy - self._limited)

    def _look_at_pulls(self, stands: Stands, now: float) -> None:
        for one in self._open.values():
            one.seen.clear()
            one.came.clear()
        self._look_at_origin(stands)
        self._look_at_parents(stands)
        self._looks += 1
        if self._looks % _COUNTED_EVERY == 0 or len(self._node.fetches) <= _FEW:
            self._count_bytes()
        for pull, one in list(self._open.items()):
            state = one.state()
            if not one.seen:
                one.seen[self._idle(pull, state, stands)] = 1
            one.account.looked(one.seen, one.came, now)
            if state in FINAL:
                del self._open[pull]

    def _look_at_origin(self, stands: Stands) -> None:
        for read in self._leases.running:
            if read.thread:
                for pull in read.fetch.wanted_by:
                    self._reads(pull, read.thread, read.fetch.artifact.endpoint, stands)
        for run in self._whole.runs:
            for thread in list(run.threads):
                self._reads(run.pull, thread, run.artifact.endpoint, stands)

    def _reads(self, pull: str, thread: int, origin: str, stands: Stands) -> None:
        if (one := self._of(pull)) is None:
            return
        wait = stands.get(thread, "origin")
        one.seen[self._worked(stands) if wait == "checks" else wait] += 1
        one.account.origin = origin
        if wait == "origin_pause":
            one.account.trouble = met_by(thread)

    def _look_at_parents(self, stands: Stands) -> None:
        for fetch in self._node.fetches.values():
            if not fetch.tallies:
                continue
            asked = [node for node, tally in fetch.tallies.items() if tally.outstanding]
            for pull in fetch.wanted_by if asked else ():
                if one := self._of(pull):
                    for node in asked:
                        thread = self._parents.thread_of(node)
                        wait = stands.get(thread) if thread is not None else None
                        one.seen[wait or f"parent:{node}"] += 1

    def _count_bytes(self) -> None:
        """Also of shards that ended since the last look."""
        fetches = self._node.fetches
        for fetch in list(self._counted.keys() | set(fetches.values())):
            now = Counter({"origin": fetch.from_origin, **fetch.peer_bytes})
            before = self._counted.get(fetch, Counter())
            if now != before:
                for pull in fetch.wanted_by:
                    if one := self._of(pull):
                        one.came.update(now - before)
            self._counted[fetch] = now
            if fetches.get(fetch.shard.digest) is not fetch:
                del self._counted[fetch]
        for run in self._whole.runs:
            if one := self._of(run.pull):
                one.came["origin"] += run.came - run.counted
                run.counted = run.came

    def _idle(self, pull: str, state: str, stands: Stands) -> Wait:
        """What is waited for where nobody moves bytes."""
        if state != "pulling":
            return "control" if state == "resolving" and not self._connected() else _STATES.get(state, "work")
        fetches = [
            fetch
            for fetch in self._node.fetches.values()
            if any(by.partition("-")[0] == pull for by in fetch.wanted_by)
        ]
        if any(fetch.turned_away for fetch in fetches):
            return "room"
        if any(fetch.filling for fetch in fetches):
            return "reuse"
        if all(fetch.finished for fetch in fetches):
            return self._worked(stands)
        if self._held_back():
            return "download_limit"
        return "pieces" if self._connected() else "control"

    @staticmethod
    def _worked(stands: Stands) -> Wait:
        """What threads do that nobody else waits for but the end of a shard."""
        doing = set(stands.values())
        return "disk" if "disk" in doing else "verify" if "verify" in doing else "work"
