"""Small models with every kind of digest, and a pull of them without a network."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Mapping

import msgspec

from modeldist.agent.store import Partial, Store
from modeldist.artifact import Artifact, ArtifactFile, Digest, Shard

KIB = 1 << 10
REVISION = "5" * 40


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def digest_of(data: bytes, kind: str = "sha256") -> Digest:
    if kind == "git-sha1":
        return Digest(f"git-sha1:{hashlib.sha1(b'blob %d' % len(data) + bytes(1) + data).hexdigest()}")
    if kind == "etag":
        return Digest(f"etag:{hashlib.sha256(b'pinned at the origin' + data).hexdigest()}")
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def shard_of(data: bytes, kind: str = "sha256") -> Shard:
    return Shard(digest_of(data, kind), len(data))


def artifact_of(
    files: Mapping[str, bytes],
    *,
    kinds: Mapping[str, str] | None = None,
    encodings: Mapping[str, str] | None = None,
    repo_id: str = "org/model",
    tag: str = "main",
    revision: str = REVISION,
) -> Artifact:
    kinds, encodings = kinds or {}, encodings or {}
    described = tuple(
        ArtifactFile(
            path=path,
            digest=digest_of(data, kinds.get(path, "sha256")),
            size=len(data),
            encoding=encodings.get(path, "raw"),
        )
        for path, data in files.items()
    )
    return Artifact(
        reference=f"hf://{repo_id}@{revision}",
        name=f"hf://{repo_id}",
        tag=tag,
        digest=Digest("sha256:" + hashlib.sha256(repr((repo_id, revision, described)).encode()).hexdigest()),
        revision=revision,
        repo_id=repo_id,
        origin="huggingface",
        endpoint="https://hub.example",
        repository=repo_id,
        files=described,
    )


def part_of(whole: Artifact, *files: ArtifactFile) -> Artifact:
    """What a selection makes of it: an artifact of its own, some of whose files may want ranges."""
    name = hashlib.sha256(repr((whole.digest, files)).encode()).hexdigest()
    return msgspec.structs.replace(whole, files=files, digest=Digest(f"sha256:{name}"), revision=name[:40])


def receive(partial: Partial, data: bytes, pieces: Iterable[int] | None = None) -> None:
    """Write these pieces (all missing ones by default) and have them verified."""
    layout = partial.layout
    for piece in layout.all - partial.have() if pieces is None else pieces:
        start = layout.offset(piece)
        os.pwrite(partial.fd, data[start : start + layout.length(piece)], start)
        partial.add(piece, partial.hash_piece(piece))


def put(store: Store, data: bytes, kind: str = "sha256", piece_size: int = 64 * KIB) -> Digest:
    with store.begin(shard_of(data, kind), piece_size) as partial:
        receive(partial, data)
        return partial.commit()


def pull(store: Store, artifact: Artifact, files: Mapping[str, bytes], reference: str = "org/model:main") -> None:
    """Everything a pull does to the store except making the snapshot."""
    with store.lease(shard.digest for shard in artifact.shards):
        for file in artifact.files:
            if not store.has(file.digest):
                put(store, files[file.path], file.digest.partition(":")[0])
        store.record(artifact, reference)
