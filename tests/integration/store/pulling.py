"""A process that pulls into a store until somebody kills it. Says on stdout what it has finished.

python -m tests.integration.store.pulling shard <root>    one large shard, piece by piece
python -m tests.integration.store.pulling models <root>   small models: pull, materialise, remove, collect, again
python -m tests.integration.store.pulling parts <root>    parts of one model and all of it: pull, materialise, remove
python -m tests.integration.store.pulling hold <root>     begin a shard, lease a blob, reserve space, wait for stdin
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

import msgspec

from modeldist.agent.store import ShardLocked, Store
from modeldist.artifact import Artifact
from modeldist.errors import NotFound, StorageError
from tests.integration.store.made_models import KIB, artifact_of, content, digest_of, part_of, pull, receive, shard_of

BIG = content(32768 * KIB, seed=42)  # more pieces than a process makes before its kill arrives
PIECE = 64 * KIB
HELD = content(300 * KIB, seed=43)
WHOLE = artifact_of({"weights.bin": HELD}, repo_id="org/parts")
MODELS = {
    f"org/model{number}": {"config.json": b"{%d}" % number, "weights/a.bin": content(200 * KIB, seed=number)}
    for number in range(3)
}


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def shard(store: Store) -> None:
    with store.begin(shard_of(BIG), PIECE) as partial:
        say("begun", len(partial.have()))
        for piece in partial.layout.all - partial.have():
            receive(partial, BIG, [piece])
            say("piece", piece)
        say("committed", partial.commit())


def models(store: Store) -> None:
    for turn in count():
        repo_id = list(MODELS)[turn % len(MODELS)]
        artifact = artifact_of(MODELS[repo_id], kinds={"config.json": "git-sha1"}, repo_id=repo_id)
        with store.lease(shard.digest for shard in artifact.shards):
            _pull_with_others(store, artifact, repo_id)
            say("materialised", store.materialise(artifact))
        if turn % 2:
            with suppress(NotFound):  # the other process was quicker
                store.remove(repo_id)
            store.gc()


def _pull_with_others(store: Store, artifact: Artifact, repo_id: str) -> None:
    while True:
        try:
            return pull(store, artifact, MODELS[repo_id], reference=repo_id)
        except ShardLocked:
            for each in artifact.shards:
                store.wait_unlocked(each.digest, 10)


def quarter(index: int) -> Artifact:
    """Of the shard of a model."""
    start, stop = len(HELD) * index // 4, len(HELD) * (index + 1) // 4
    return part_of(WHOLE, msgspec.structs.replace(WHOLE.files[0], ranges=((start, stop),)))


def parts(store: Store) -> None:
    for turn in count():
        artifact = WHOLE if turn % 5 == 4 else quarter(turn % 5)
        with store.lease(shard.digest for shard in artifact.shards):
            _pull_part(store, artifact)
            store.record(artifact, artifact.digest)
            with suppress(StorageError):  # the other process has removed what it needs
                say("materialised", store.materialise(artifact))
        if turn % 3 == 2:
            with suppress(NotFound):
                store.remove(artifact.digest)


def _pull_part(store: Store, artifact: Artifact) -> None:
    shard = shard_of(HELD)
    while not store.has(shard.digest):
        try:
            with store.begin(shard, PIECE, artifact.ranges_of(shard.digest)) as partial:
                wanted = partial.layout.touching(artifact.ranges_of(shard.digest)) or partial.layout.all
                receive(partial, HELD, wanted - partial.have())
                partial.commit() if partial.have() == partial.layout.all else partial.settle()
            return
        except ShardLocked:
            store.wait_unlocked(shard.digest, 10)


def hold(store: Store) -> None:
    partial = store.begin(shard_of(HELD), PIECE)
    receive(partial, HELD, [0])
    lease = store.lease([digest_of(b"leased")])
    reservation = store.reserve(1 << 20)
    say("holding")
    sys.stdin.readline()
    receive(partial, HELD)
    partial.commit()
    partial.close()
    lease.release()
    reservation.release()
    say("done")


if __name__ == "__main__":
    opened = Store.open(Path(sys.argv[2]))
    try:
        {"shard": shard, "models": models, "parts": parts, "hold": hold}[sys.argv[1]](opened)
    except BrokenPipeError:
        os._exit(0)
    finally:
        opened.close()
