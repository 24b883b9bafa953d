"""Artifacts and the references that led to them: the server's catalogue."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, func, select

from modeldist.artifact import Artifact, Digest
from modeldist.control.store.absence import is_away
from modeldist.control.store.database import Database
from modeldist.control.store.shard_names import NamedArtifact, ShardName, ShardNames
from modeldist.control.store.tables import ArtifactRow, ReferenceRow
from modeldist.control.store.upsert import upsert
from modeldist.errors import UNDECODABLE

PATIENCE = 5.0  # seconds for the database to say what a reference meant, or to write it down
DECODED = 32  # artifacts kept decoded
MOST_DECODED = 256e6  # bytes of them; one of 100,000 files takes about 100 MB
DECODED_SIZE = 5  # bytes of an artifact in memory for each of its document
NAMED = 64  # models whose names are read from the database, those that were resolved last
NAMED_DOCUMENT = 32_000_000  # bytes of a document that is read for names
NAMES_READ_EVERY = 60.0  # seconds, where a shard has no name

log = logging.getLogger(__name__)

_COLUMNS = (
    ArtifactRow.digest,
    ArtifactRow.reference,
    ArtifactRow.origin,
    ArtifactRow.size,
    ArtifactRow.files,
    ArtifactRow.resolved_at,
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Artifact)
_named = msgspec.msgpack.Decoder(NamedArtifact)


@dataclass(frozen=True, slots=True)
class KnownArtifact:
    """A row of the list of models. `references`: those that meant it when last resolved."""

    digest: Digest
    reference: str
    origin: str
    size: int
    files: int
    resolved_at: float
    references: tuple[str, ...] = ()


class Artifacts:
    """A `control.ports.Catalogue` that survives restarts. Never trusts `known`: it answers many nodes.

    It spares the origin a request and no more, so a database that is away keeps nobody from pulling: nothing is known
    then, and what was resolved is not written down. `most`: bytes of artifacts that are kept decoded, about; a larger
    one is decoded each time.
    """

    def __init__(self, database: Database, now: Callable[[], float] = time.time, *, most: float = MOST_DECODED) -> None:
        self._database = database
        self._now = now
        self._most = most
        self._decoded: OrderedDict[Digest, tuple[Artifact, int]] = OrderedDict()  # with the bytes it takes
        self._decoded_bytes = 0
        self._names = ShardNames()
        self._names_read = float("-inf")

    async def candidate(self, reference: str, known: Digest | None) -> Artifact | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._last(reference)
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("the database does not say what %s meant: %r", reference, error)
            return None

    async def remember(self, reference: str, artifact: Artifact) -> None:
        document = _encoder.encode(artifact)
        self._keep(artifact, len(document))
        self._asked(reference, artifact)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._write(reference, artifact, document)
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("what %s means is not written down: %r", reference, error)

    async def _last(self, reference: str) -> Artifact | None:
        async with self._database.transaction() as session:
            digest = (
                await session.execute(select(ReferenceRow.digest).where(ReferenceRow.reference == reference))
            ).scalar_one_or_none()
        found = await self.get(Digest(digest)) if digest else None
        if found is not None:
            self._asked(reference, found)
        return found

    async def _write(self, reference: str, artifact: Artifact, document: bytes) -> None:
        now = self._now()
        async with self._database.transaction() as session:
            row = {
                "digest": artifact.digest,
                "reference": artifact.reference,
                "origin": artifact.origin,
                "size": artifact.needed,
                "files": len(artifact.files),
                "document": document,
                "resolved_at": now,
            }
            await upsert(session, ArtifactRow, [row])
            await upsert(
                session, ReferenceRow, [{"reference": reference, "digest": artifact.digest, "resolved_at": now}]
            )

    async def get(self, digest: Digest) -> Artifact | None:
        if found := self._decoded.get(digest):
            self._decoded.move_to_end(digest)
            return found[0]
        async with self._database.transaction() as session:
            document = (
                await session.execute(select(ArtifactRow.document).where(ArtifactRow.digest == digest))
            ).scalar_one_or_none()
        if document is None:
            return None
        try:
            artifact = _decoder.decode(document)
        except UNDECODABLE:
            return None  # written by a version whose Artifact was another; resolving again replaces it
        self._keep(artifact, len(document))
        return artifact

    async def listing(self, after: str | None, limit: int) -> Sequence[KnownArtifact]:
        """Up to `limit` artifacts in order of digest, from behind `after`."""
        where = () if after is None else (ArtifactRow.digest > after,)
        return await self._known(*where, limit=limit)

    async def row(self, digest: Digest) -> KnownArtifact | None:
        found = await self._known(ArtifactRow.digest == digest, limit=1)
        return found[0] if found else None

    async def _known(self, *where: ColumnElement[bool], limit: int) -> Sequence[KnownArtifact]:
        query = select(*_COLUMNS).where(*where).order_by(ArtifactRow.digest).limit(limit)
        async with self._database.transaction() as session:
            rows = (await session.execute(query)).all()
            named: dict[str, list[str]] = {row.digest: [] for row in rows}
            references = await session.execute(
                select(ReferenceRow.digest, ReferenceRow.reference)
                .where(ReferenceRow.digest.in_(named))
                .order_by(ReferenceRow.reference)
            )
            for digest, reference in references:
                named[digest].append(reference)
        return [
            KnownArtifact(
                Digest(row.digest),
                row.reference,
                row.origin,
                row.size,
                row.files,
                row.resolved_at,
                tuple(named[row.digest]),
            )
            for row in rows
        ]

    async def names_of(self, shards: Iterable[Digest]) -> dict[Digest, ShardName]:
        """Of those that have one. After a restart they come from the models that were resolved last; none while the
        database is away."""
        wanted = list(shards)
        now = self._now()
        if now - self._names_read >= NAMES_READ_EVERY and not all(map(self._names.of, wanted)):
            self._names_read = now
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._read_names()
            except Exception as error:
                if not is_away(error):
                    raise
                log.warning("the database does not say what shards are called: %r", error)
        found = ((shard, self._names.of(shard)) for shard in wanted)
        return {shard: name for shard, name in found if name is not None}

    async def _read_names(self) -> None:
        query = select(ArtifactRow.digest).where(func.length(ArtifactRow.document) <= NAMED_DOCUMENT)
        async with self._database.transaction() as session:
            found = await session.execute(query.order_by(ArtifactRow.resolved_at.desc()).limit(NAMED))
            digests = [Digest(digest) for digest in found.scalars()]
        for digest in digests:
            if digest in self._names or self._names.full:
                continue
            async with self._database.transaction() as session:
                kept = select(ArtifactRow.document).where(ArtifactRow.digest == digest)
                document = (await session.execute(kept)).scalar_one_or_none()
                last = select(ReferenceRow.reference).where(ReferenceRow.digest == digest)
                last = last.order_by(ReferenceRow.reference.contains("@sha256:"), ReferenceRow.resolved_at.desc())
                reference = (await session.execute(last.limit(1))).scalar_one_or_none()
            if document is None or digest in self._names:
                continue
            try:
                artifact = await asyncio.to_thread(_named.decode, document)
            except UNDECODABLE:
                continue
            self._names.learn(reference or digest, artifact, before=True)

    def _asked(self, reference: str, artifact: Artifact) -> None:
        if not self._names.asked(reference, artifact.digest):
            self._names.learn(reference, msgspec.convert(artifact, NamedArtifact, from_attributes=True))

    async def count(self) -> int:
        async with self._database.transaction() as session:
            return (await session.execute(select(func.count()).select_from(ArtifactRow))).scalar_one()

    def _keep(self, artifact: Artifact, document: int) -> None:
        """`document`: bytes of its encoding."""
        _, before = self._decoded.pop(artifact.digest, (artifact, 0))
        size = document * DECODED_SIZE
        self._decoded[artifact.digest] = artifact, size
        self._decoded_bytes += size - before
        while self._decoded and (len(self._decoded) > DECODED or self._decoded_bytes > self._most):
            self._decoded_bytes -= self._decoded.popitem(last=False)[1][1]
