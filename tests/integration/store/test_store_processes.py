"""Several processes on one root, some of them killed at any moment."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import huggingface_hub
import pytest

from modeldist.agent.store import ShardLocked, Store
from modeldist.errors import NotEnoughSpace
from modeldist.scheduler.pieces import PieceSet
from tests.integration.store.made_models import artifact_of, digest_of, put, receive, shard_of
from tests.integration.store.pulling import BIG, HELD, MODELS, PIECE, WHOLE, quarter

Start = Callable[[str, Path], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def begin(what: str, root: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.integration.store.pulling", what, str(root)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        with suppress(BrokenPipeError):
            process.communicate()


def heard(process: subprocess.Popen[str], word: str) -> str:
    """What follows `word` in the next line that begins with it."""
    for line in out(process):
        first, _, rest = line.rstrip("\n").partition(" ")
        if first == word:
            return rest
    raise AssertionError(f"the process ended without saying {word!r}")


def out(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def check_blobs(root: Path) -> None:
    """Every complete blob is what its name says."""
    for path in (root / "blobs" / "sha256").glob("*/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def damaged(hub: Path) -> list[str]:
    """Repositories that huggingface_hub calls corrupt; a folder that a kill left without any file is not damage."""
    return [
        str(warning)
        for warning in huggingface_hub.scan_cache_dir(hub).warnings
        if any(
            path.is_file()
            for folder in hub.glob("models--*")
            if str(folder) in str(warning)
            for path in folder.rglob("*")
        )
    ]


@pytest.mark.parametrize("seed", range(4))
def test_killed_pulls_keep_every_finished_piece(store: Store, start: Start, seed: int) -> None:
    chance = random.Random(seed)
    finished: set[int] = set()
    for _ in range(3):
        process = start("shard", store.root)
        assert int(heard(process, "begun")) >= len(finished)
        for _ in range(chance.randrange(1, 30)):
            finished.add(int(heard(process, "piece")))
        process.kill()
        finished.update(int(line.split()[1]) for line in out(process) if line.startswith("piece") and line[-1] == "\n")
        process.wait()
        with store.begin(shard_of(BIG), PIECE) as partial:
            assert not PieceSet.of(finished) - partial.have()
            for piece in partial.have():
                with (store.root / "partial" / shard_of(BIG).digest.replace(":", "-") / "data").open("rb") as file:
                    file.seek(piece * PIECE)
                    assert file.read(PIECE) == BIG[piece * PIECE : (piece + 1) * PIECE]
    with store.begin(shard_of(BIG), PIECE) as partial:
        receive(partial, BIG)
        partial.commit()
    check_blobs(store.root)


@pytest.mark.parametrize("seed", range(4))
def test_killed_processes_leave_a_sound_store(store: Store, start: Start, seed: int) -> None:
    """Two processes pull, materialise, remove and collect the same models; both are killed again and again."""
    chance = random.Random(seed)
    for _ in range(3):
        processes = [start("models", store.root) for _ in range(2)]
        for process in processes:
            for _ in range(chance.randrange(1, 6)):
                heard(process, "materialised")
            process.kill()
            process.wait()
        check_blobs(store.root)
        for repo_id, files in MODELS.items():
            artifact = artifact_of(files, kinds={"config.json": "git-sha1"}, repo_id=repo_id)
            folder = store.snapshot(artifact)
            if folder is not None:
                assert {name: (folder / name).read_bytes() for name in files} == files
        assert not damaged(store.hub)
    for repo_id, files in MODELS.items():
        artifact = artifact_of(files, kinds={"config.json": "git-sha1"}, repo_id=repo_id)
        for file in artifact.files:
            if not store.has(file.digest):
                put(store, files[file.path], file.digest.partition(":")[0])
        assert store.materialise(artifact) == store.snapshot(artifact)


@pytest.mark.parametrize("seed", range(4))
def test_killed_pulls_of_parts_leave_no_hole_where_content_is_promised(store: Store, start: Start, seed: int) -> None:
    """Two processes pull parts of one shard, and all of it, into the same file; both are killed again and again."""
    chance = random.Random(seed)
    for _ in range(3):
        processes = [start("parts", store.root) for _ in range(2)]
        for process in processes:
            for _ in range(chance.randrange(1, 12)):
                heard(process, "materialised")
            process.kill()
            process.wait()
        check_blobs(store.root)
        for artifact in (WHOLE, *map(quarter, range(4))):
            if (folder := store.snapshot(artifact)) is not None:
                found = (folder / "weights.bin").read_bytes()
                for first, last in artifact.files[0].ranges or ((0, len(HELD)),):
                    assert found[first:last] == HELD[first:last]
        assert not damaged(store.hub)
    for artifact in (*map(quarter, range(4)), WHOLE):
        with store.begin(shard_of(HELD), PIECE, artifact.ranges_of(digest_of(HELD))) as partial:
            receive(partial, HELD, partial.layout.all - partial.have())
            partial.commit()
        store.record(artifact, artifact.digest)
        store.materialise(artifact)
    assert store.audit().damages == ()


def test_only_one_process_fetches_and_the_other_uses_its_result(store: Store, start: Start) -> None:
    process = start("hold", store.root)
    heard(process, "holding")
    with pytest.raises(ShardLocked):
        store.begin(shard_of(HELD), PIECE)
    assert not store.wait_unlocked(digest_of(HELD), 0.05)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert store.wait_unlocked(digest_of(HELD), 30)
    assert store.has(digest_of(HELD))
    assert heard(process, "done") == ""
    assert process.wait() == 0


def test_a_killed_process_holds_nothing(store: Store, start: Start) -> None:
    put(store, b"leased")
    process = start("hold", store.root)
    heard(process, "holding")
    assert sum(path.name.startswith(("lease-", "reservation-")) for path in (store.root / "live").iterdir()) == 2
    process.kill()
    process.wait()
    with store.begin(shard_of(HELD), PIECE) as partial:
        assert partial.have() == PieceSet.of([0])
    later = Store.open(store.root, clock=lambda: 9e9)
    assert later.gc().blobs == 1
    with later.reserve(1):
        assert sum(path.name.startswith(("lease-", "reservation-")) for path in (store.root / "live").iterdir()) == 1
    later.close()


def test_reservations_of_other_processes_count(store: Store, start: Start) -> None:
    heard(start("hold", store.root), "holding")
    with pytest.raises(NotEnoughSpace, match=r"of which 1,048,576 are reserved by other pulls"):
        store.reserve(1 << 60)


def test_leases_of_other_processes_count(store: Store, start: Start) -> None:
    put(store, b"leased")
    put(store, b"not leased")
    heard(start("hold", store.root), "holding")
    later = Store.open(store.root, clock=lambda: 9e9)
    later.gc()
    later.close()
    assert store.has(digest_of(b"leased"))
    assert not store.has(digest_of(b"not leased"))
