"""Who may read which repository, and what its revisions are now.

What this node holds it got with its own credentials, so those who ask are held against the hub with theirs, also when
every byte is here. An answer is good for `GOOD_FOR` seconds; while the hub is away or asks for fewer questions, what it
last said to the same credentials counts. Those who ask the same at the same time share a question.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from modeldist.errors import OriginError
from modeldist.gateway.hub.kept import KeptAdmissions
from modeldist.origins.hub_admission import HubDoor, HubSays

GOOD_FOR = 60.0  # seconds; the files of one download ask within it
REMEMBERED = 4096
WRITTEN = 1.0  # seconds until it is kept for the next start
AT_ONCE = 64  # questions; each has a thread while the hub thinks
FIRST_LOOK = "config.json"  # what is asked for where no file is meant; a gated repository does not show it
_SHOWN_TO_ALL = frozenset({"README.md", ".gitattributes"})  # of gated repositories too

_COMMIT = re.compile(r"[0-9a-f]{40}")


class Refused(Exception):
    """The hub does not let them."""

    def __init__(self, says: HubSays) -> None:
        super().__init__(says.message)
        self.says = says


@dataclass(frozen=True, slots=True)
class _Admission:
    commit: str
    reads: bool  # files, not just what all may see
    at: float


class Admissions:
    """One event loop. `clock` in seconds; `kept`: what it said before the agent started."""

    def __init__(self, door: HubDoor, clock: Callable[[], float], kept: KeptAdmissions) -> None:
        self._door = door
        self._kept = kept
        self._writing: asyncio.TimerHandle | None = None
        self._asked: dict[tuple[str, str, str, str], asyncio.Future[HubSays]] = {}
        self._clock = clock
        # Not the loop's: a hub that is slow to answer would have everybody wait who reads what is here.
        self._asking = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hub-ask")
        self._known: OrderedDict[tuple[str, str, str], _Admission] = OrderedDict()  # repository, revision, credentials

    def close(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._kept.write()
        self._asking.shutdown(wait=False, cancel_futures=True)

    async def commit(self, repo: str, revision: str, authorization: str, path: str = "") -> str:
        """The commit that `revision` is now, for those who may read `path` (empty: the listing) of it.

        Raises Refused, OriginError.
        """
        known = self._known.get((repo, revision, authorization))
        enough = known is not None and (known.reads or not path)
        if known and enough and _COMMIT.fullmatch(revision) and self._clock() - known.at < GOOD_FOR:
            return known.commit
        try:
            says = await self._ask(repo, revision, path or FIRST_LOOK, authorization)
        except OriginError:
            if known and enough:
                return known.commit
            before = None if known else self._kept.get(repo, revision, authorization)
            if before and (before.reads or not path):
                return before.commit
            raise
        if says.status == 429 and known and enough:
            return known.commit  # too many questions are no answer to this one
        if not says.commit:
            if says.status != 429:
                self._forget(repo, authorization)
            raise Refused(says)
        reads = says.exists and path not in _SHOWN_TO_ALL
        self._remember(repo, revision, authorization, says.commit, reads=reads)
        if revision != says.commit:
            self._remember(repo, says.commit, authorization, says.commit, reads=reads)
        return says.commit

    async def _ask(self, repo: str, revision: str, path: str, authorization: str) -> HubSays:
        at = (repo, revision, path, authorization)
        if (asked := self._asked.get(at)) is None:
            loop = asyncio.get_running_loop()
            asked = self._asked[at] = loop.run_in_executor(self._asking, self._door.ask, *at)
            asked.add_done_callback(lambda done: self._answered(at, done))
        return await asyncio.shield(asked)  # who leaves takes it from nobody

    def _answered(self, at: tuple[str, str, str, str], asked: asyncio.Future[HubSays]) -> None:
        del self._asked[at]
        if not asked.cancelled():
            asked.exception()  # seen: nobody may be waiting any more

    def _remember(self, repo: str, revision: str, authorization: str, commit: str, *, reads: bool) -> None:
        key = (repo, revision, authorization)
        before = self._known.pop(key, None)
        now = self._clock()
        if before is not None and before.reads and before.commit == commit and now - before.at < GOOD_FOR and not reads:
            self._known[key] = before  # a look at the listing takes nothing away
            return
        self._known[key] = _Admission(commit, reads, now)
        if self._kept.put(repo, revision, authorization, commit, reads=reads):
            self._write_soon()
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _forget(self, repo: str, authorization: str) -> None:
        for key in [key for key in self._known if (key[0], key[2]) == (repo, authorization)]:
            del self._known[key]
        if self._kept.forget(repo, authorization):
            self._write_soon()

    def _write_soon(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().call_later(WRITTEN, self._write)

    def _write(self) -> None:
        self._writing = None
        self._asking.submit(self._kept.write)
