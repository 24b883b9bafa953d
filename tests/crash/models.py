"""What the operations under test pull, and a pull as an engine does it to the store, that says what it was promised."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modeldist.agent.store import Partial, Store
from modeldist.artifact import Artifact, Digest, Shard
from modeldist.errors import IntegrityError
from modeldist.socket_to_file import SocketToFile
from tests.integration.store.made_models import KIB, digest_of

PIECE = 256 * KIB
Say = Callable[..., None]


def quiet(*promise: object, lasts: bool = False) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Model:
    """`files` are the content of all of them by path, whatever the artifact wants; `inside` what its archives hold."""

    artifact: Artifact
    files: dict[str, bytes]
    reference: str
    inside: tuple[tuple[str, bytes], ...] = ()

    def content(self, digest: Digest) -> bytes:
        return self.files[self.artifact.file_of(digest).path]

    def sha256(self, digest: Digest) -> Digest:
        return digest_of(self.content(digest))


def pull(store: Store, model: Model, say: Say = quiet, *, read: list[tuple[Digest, int]] | None = None) -> Path:
    """`read` is filled with the pieces that had to be read, small shards as piece 0."""
    artifact = model.artifact
    read = [] if read is None else read
    with store.lease(shard.digest for shard in artifact.shards):
        missing = [shard for shard in artifact.shards if not store.has(shard.digest)]
        with store.reserve_for(artifact, missing):
            small = store.suitable(missing)
            _take_in(store, model, [shard for shard in missing if shard.digest in small], say, read)
            for shard in missing:
                if shard.digest not in small:
                    bring(store, model, shard, say, read)
        store.record(artifact, model.reference)
        say("recorded", model.reference, lasts=True)
        folder = store.materialise(artifact)
        say("ready", model.reference)
    return folder


def _take_in(store: Store, model: Model, shards: list[Shard], say: Say, read: list[tuple[Digest, int]]) -> None:
    def write(shard: Shard, fd: int) -> None:
        read.append((shard.digest, 0))
        os.write(fd, model.content(shard.digest))

    for shard, error in store.take_in(shards, write):
        assert error is None, error
        say("complete", shard.digest)


def bring(store: Store, model: Model, shard: Shard, say: Say, read: list[tuple[Digest, int]]) -> None:
    """Again, as an engine would, where a piece that was here before proves wrong with the whole."""
    try:
        _bring(store, model, shard, say, read)
    except IntegrityError:
        _bring(store, model, shard, say, read)


def _bring(store: Store, model: Model, shard: Shard, say: Say, read: list[tuple[Digest, int]]) -> None:
    """Piece by piece, through the kernel where a socket brings them."""
    ranges = model.artifact.ranges_of(shard.digest)
    with store.begin(shard, PIECE, ranges) as partial:
        if partial.layout.piece_size != PIECE:
            partial.recut(PIECE)
        wanted = partial.layout.touching(ranges) if ranges else partial.layout.all
        for piece in wanted - partial.have():
            read.append((shard.digest, piece))
            receive(partial, model.content(shard.digest), piece, spliced=piece % 2 == 1)
            say("piece", shard.digest, PIECE, piece)
        if partial.have() == partial.layout.all:
            partial.commit()
            say("complete", shard.digest, lasts=shard.size > 1024 * KIB)
            store.keep_piece_digests(partial)
        else:
            partial.settle()
            for piece in wanted:
                say("piece", shard.digest, PIECE, piece, lasts=True)
            say("settled", shard.digest, ranges, lasts=True)


def receive(partial: Partial, data: bytes, piece: int, *, spliced: bool = False) -> None:
    start = partial.layout.offset(piece)
    part = data[start : start + partial.layout.length(piece)]
    if spliced:
        with _arriving(part) as incoming:
            at = start
            while at < start + len(part):
                at += incoming.move(partial.fd, at, start + len(part) - at)
    else:
        os.pwrite(partial.fd, part, start)
    partial.add(piece, partial.hash_piece(piece))


@contextmanager
def _arriving(data: bytes) -> Iterator[SocketToFile]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * len(data))
        theirs.setblocking(False)
        assert theirs.send(data) == len(data), "a socket's buffer takes a piece"
        incoming = SocketToFile(ours)
        try:
            yield incoming
        finally:
            incoming.close()
