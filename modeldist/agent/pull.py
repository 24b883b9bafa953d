"""One pull, from reference to snapshot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from modeldist.agent.engine import Engine
from modeldist.agent.header_check import check_headers
from modeldist.agent.making_room import reserved
from modeldist.agent.parts import wanted_bytes
from modeldist.agent.progress import (
    FINAL,
    PATIENCE_WHEN_HERE,
    ParentShare,
    PullSnapshot,
    ShardProgress,
    State,
    using_the_copy,
)
from modeldist.agent.store import ShardLocked
from modeldist.artifact import Artifact, Digest, Shard
from modeldist.errors import (
    Cancelled,
    ControlPlaneUnreachable,
    ModeldistError,
    OriginUnavailable,
    Overloaded,
    PullFailed,
    RateLimited,
    StorageError,
    Untrusted,
)
from modeldist.explain import Where
from modeldist.logger import Logger
from modeldist.origins import table_missed
from modeldist.scheduler.messages import Priority
from modeldist.tracing import NO_SPAN, Span, span

log = Logger(__name__)

LOCK_PATIENCE = 0.25  # seconds per look at a shard that another process fetches


class Approving(Protocol):
    """This node's own policy (`modeldist.origins.router.Origins`)."""

    def accepts(self, artifact: Artifact) -> bool: ...
    async def approve(self, artifact: Artifact, reference: str) -> Artifact: ...


class Pull:
    """State of one pull; `snapshot()` is what others see. `run()` once."""

    def __init__(
        self,
        engine: Engine,
        reference: str,
        *,
        key: str,
        pull: str,
        priority: Priority,
        offline: bool,
        approving: Approving | None = None,
    ) -> None:
        self._approving = approving
        self.id = pull
        self.reference = reference
        self.key = key
        self.priority = priority
        self.offline = offline
        self.state: State = "resolving"
        self.artifact: Artifact | None = None
        self.path: Path | None = None
        self.error: ModeldistError | None = None
        self.stale = ""
        self.span: Span = NO_SPAN
        self.heard: Callable[[Digest | None], None] = lambda _: None
        """Called when it is known what is pulled (None), before any of it moves, and with each shard that has ended."""
        self._engine = engine
        self._started = time.monotonic()
        self._seconds: float | None = None
        self._notes: list[str] = []
        self._final: dict[str, ShardProgress] = {}
        self._parents: dict[str, int] = {}
        self._last_detour = ""
        self._watch_time()

    # --- doing it ---

    async def run(self) -> Path:
        """Returns the snapshot directory. Raises ModeldistError."""
        try:
            self.path = await self._run()
            self.state = "done"
            return self.path
        except asyncio.CancelledError:
            self.error = Cancelled(f"The pull of {self.reference} was stopped.", remedy="Pull again to resume.")
            self.state = "cancelled"
            raise self.error from None
        except ModeldistError as error:
            self.error = error
            self.state = "cancelled" if isinstance(error, Cancelled) else "failed"
            raise
        except OSError as error:
            self.error = PullFailed(f"Pulling {self.reference} failed: {error}.")
            self.state = "failed"
            raise self.error from error
        except Exception as error:  # a bug; but whoever watches this pull must learn that it ended
            log.exception("pull crashed", reference=self.reference)
            self.error = PullFailed(
                f"Pulling {self.reference} failed unexpectedly: {type(error).__name__}: {error}.",
                remedy="Please report it, with what the log says.",
            )
            self.state = "failed"
            raise self.error from error
        finally:
            self._seconds = time.monotonic() - self._started

    async def _run(self) -> Path:
        store = self._engine.store
        artifact = self.artifact = await self._approved(await self._resolve())
        self.heard(None)
        if path := await asyncio.to_thread(store.snapshot, artifact):
            self._note_local(artifact, [])
            with suppress(StorageError):  # a store that cannot be written, or a full one, gives what it has
                await asyncio.to_thread(store.refer, artifact)
                await asyncio.to_thread(store.record, artifact, self.key)
            return path
        with store.lease(tuple(shard.digest for shard in artifact.shards), artifact.digest):
            await self._fetch(artifact)
            await asyncio.to_thread(store.rest)
            await asyncio.to_thread(check_headers, store, artifact)
            self.state = "materialising"
            await asyncio.to_thread(store.record, artifact, self.key)
            with span("materialise"):
                path = await asyncio.to_thread(store.materialise, artifact)
        self._engine.announce()
        return path

    async def _resolve(self) -> Artifact:
        store = self._engine.store
        known = await asyncio.to_thread(store.lookup, self.key)
        here = known is not None and await asyncio.to_thread(store.holds, known)
        if known and here and self.offline:
            return known
        if self.offline:
            raise PullFailed(f"{self.reference} is not in this node's store.", remedy="Pull it once without --offline.")
        try:
            with span("resolve", kind="client"):
                async with asyncio.timeout(PATIENCE_WHEN_HERE if here else None):
                    answer = await self._engine.session.resolve(
                        self.reference,
                        known.digest if known and not table_missed.missed(known) else None,
                        persist=not here,
                        priority=self.priority,
                    )
        except (OriginUnavailable, RateLimited, ControlPlaneUnreachable, Overloaded, TimeoutError) as error:
            if known is None or not here:
                raise
            self.stale = using_the_copy(self.reference, error)
            return known
        # Whether it passed a policy is only what this node itself found out.
        meant = replace(answer.artifact, approved="") if answer.artifact else known
        if meant is None:
            raise PullFailed(f"The control plane did not say what {self.reference} is.")
        if answer.away is not None:
            mine = here and known is not None and known.digest == meant.digest
            self.stale = using_the_copy(
                self.reference, answer.away.as_error(), "is here" if mine else "other nodes have"
            )
        return meant

    async def _approved(self, artifact: Artifact) -> Artifact:
        """What may be had under this node's policy, whoever resolved it and however long ago. Raises Untrusted."""
        if self._approving is None or self._approving.accepts(artifact):
            return artifact
        if self.offline:
            raise Untrusted(
                f"{self.reference} is here, and was not held against the policy that is set now.",
                remedy="Pull it once without --offline.",
            )
        return await self._approving.approve(artifact, self.reference)

    async def _fetch(self, artifact: Artifact) -> None:
        store = self._engine.store
        while True:
            missing = [shard for shard in artifact.shards if not store.has(shard.digest)]
            self._note_local(artifact, missing)
            if not missing:
                return
            with await reserved(self._engine, artifact, missing, self._note):
                self.state = "pulling"
                try:
                    await self._engine.shards.fetch_all(artifact, missing, self.priority, self.id)
                except ShardLocked:
                    pass  # leave the reservation first
                else:
                    self._note_local(artifact, [])
                    return
            await self._wait_for_other(missing)

    async def _wait_for_other(self, missing: list[Shard]) -> None:
        """Another process on this node fetches one of these: wait for it instead of fetching twice."""
        self.state = "waiting"
        if not any("Another process" in note for note in self._notes):
            self._notes.append("Another process on this machine is fetching the same shards; waiting for it.")
        store = self._engine.store
        for shard in missing:
            if (fetch := self._engine.node.fetches.get(shard.digest)) and not fetch.ended:
                continue  # a pull of this process: the next round joins it
            while not await asyncio.to_thread(store.wait_unlocked, shard.digest, LOCK_PATIENCE):
                pass

    def _note(self, text: str) -> None:
        self._notes.append(text)

    def _watch_time(self) -> None:
        """From now on."""
        self._ended_where: Where | None = None
        self._account = self._engine.time.account(self.id, lambda: self.state)

    # --- what others see ---

    def _note_local(self, artifact: Artifact, missing: list[Shard]) -> None:
        absent = {shard.digest for shard in missing}
        ended = {digest for digest, row in self._final.items() if row.complete}
        for file in artifact.files:
            if file.digest not in absent and file.digest not in ended:
                size = wanted_bytes(artifact, Shard(file.digest, file.size))
                self._final[file.digest] = ShardProgress(file.path, file.digest, size, size, 0, 0, size, complete=True)

    def shard_done(self, progress: ShardProgress | None, parents: dict[str, int], notes: list[str]) -> None:
        """The engine has ended a shard this pull waits for, complete or not; None: it only has something to say."""
        if progress is not None:
            self._final[progress.digest] = progress
        for node, count in parents.items():
            self._parents[node] = self._parents.get(node, 0) + count
        self._notes.extend(note for note in notes if note not in self._notes)
        if progress is not None:
            self.heard(progress.digest)

    @property
    def seconds(self) -> float:
        """That it has taken, until now or its end."""
        return self._seconds if self._seconds is not None else time.monotonic() - self._started

    def snapshot(self) -> PullSnapshot:
        shards, where, shares = self._shards(), self._where(), self._all_parents()
        return PullSnapshot(
            pull=self.id,
            reference=self.reference,
            state=self.state,
            seconds=self.seconds,
            resolved=self.artifact.reference if self.artifact else "",
            digest=self.artifact.digest if self.artifact else "",
            path=str(self.path or ""),
            size=sum(shard.size for shard in shards),
            needed=self.artifact.needed if self.artifact else 0,
            whole=self.artifact.whole_size if self.artifact else 0,
            headers=self.artifact.part.headers if self.artifact and self.artifact.part else 0,
            origin=sum(shard.origin for shard in shards),
            peers=sum(shard.peers for shard in shards),
            local=sum(shard.local for shard in shards),
            rdma=sum(shard.rdma for shard in shards),
            reused=sum(shard.reused for shard in shards),
            index=self._index_bytes(),
            shards=shards,
            parents=tuple(ParentShare(node, count) for node, count in sorted(shares.items())),
            notes=(*self._notes, *self._live_notes()),
            warnings=self.artifact.warnings if self.artifact else (),
            stale=self.stale,
            error=self.error.info() if self.error else None,
            where=where,
            addresses=self._addresses({*shares, *(where.parents if where else ())}),
        )

    def _addresses(self, parents: Iterable[str]) -> dict[str, str]:
        return {node: address for node in sorted(parents) if (address := self._engine.address_of(node))}

    def _where(self) -> Where | None:
        if self._ended_where is not None:
            return self._ended_where
        around = self._engine.around()
        if not around.rdma and (detour := self._detour()):
            around = replace(around, rdma=detour)
        where = self._account.where(around)
        if self.state in FINAL:
            self._ended_where = where
        return where

    def _detour(self) -> str:
        """Why pieces came over TCP that were to come by RDMA."""
        fetches = self._engine.node.fetches
        for digest in self._live():
            if (fetch := fetches.get(digest)) and fetch.detour:
                self._last_detour = fetch.detour
        return self._last_detour

    def _index_bytes(self) -> int:
        """Of the chunk index, fetched by this pull."""
        index = self.artifact.index if self.artifact else None
        row = self._final.get(index.digest) if index else None
        return row.origin + row.peers if row else 0

    def _shards(self) -> tuple[ShardProgress, ...]:
        if self.artifact is None:
            return ()
        rows = []
        for shard in self.artifact.shards:
            row, fetch = self._final.get(shard.digest), self._engine.node.fetches.get(shard.digest)
            if row and (row.complete or fetch is None):
                rows.append(row)
            elif fetch:
                rows.append(fetch.progress())
            else:
                path, read = self.artifact.file_of(shard.digest).path, self._engine.shards.bytes_read(shard.digest)
                size = wanted_bytes(self.artifact, shard)
                rows.append(ShardProgress(path, shard.digest, size, read, read, 0, 0, complete=False))
        return tuple(rows)

    def _live(self) -> list[Digest]:
        return [shard.digest for shard in self.artifact.shards] if self.artifact else []

    def _live_notes(self) -> list[str]:
        fetches = self._engine.node.fetches
        return [
            note
            for digest in self._live()
            if (f := fetches.get(digest)) and digest not in self._final
            for note in f.notes
        ]

    def _all_parents(self) -> dict[str, int]:
        shares = dict(self._parents)
        for digest in self._live():
            if (fetch := self._engine.node.fetches.get(digest)) and digest not in self._final:
                for node, count in fetch.peer_bytes.items():
                    shares[node] = shares.get(node, 0) + count
        return shares
