"""Files of which a node wants ranges only: sparse in the snapshot, journaled in the store, never taken for whole."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import msgspec
import pytest

from modeldist.agent.store import Store
from modeldist.artifact import Artifact
from modeldist.errors import IntegrityError, StorageError
from tests.integration.store.made_models import KIB, artifact_of, content, part_of, put, receive, shard_of

PIECE = 64 * KIB
DATA = content(1000 * KIB + 7)  # 16 pieces
CONFIG = b"{}"
WHOLE = artifact_of({"config.json": CONFIG, "weights/a.safetensors": DATA, "weights/b.safetensors": content(5, 9)})
SHARD = shard_of(DATA)
REFERENCE = "org/model:main"
FIRST, SECOND = ((10, PIECE + 5),), ((5 * PIECE, 7 * PIECE), (15 * PIECE, 15 * PIECE + 1))


def selection(*ranges: tuple[int, int]) -> Artifact:
    """The configuration, and ranges of one of two weight files."""
    config, weights, _ = WHOLE.files
    return part_of(WHOLE, config, msgspec.structs.replace(weights, ranges=ranges))


def fetch(store: Store, part: Artifact, data: bytes = DATA) -> Path:
    """What a pull of a selection does to the store."""
    (ranges,) = (file.ranges for file in part.files if file.ranges)
    with store.lease(shard.digest for shard in part.shards):
        put(store, CONFIG)
        with store.begin(SHARD, PIECE, ranges) as partial:
            receive(partial, data, partial.layout.touching(ranges) - partial.have())
            partial.settle()
        store.record(part, REFERENCE)
        return store.materialise(part)


def fetch_rest(store: Store) -> Path:
    with store.lease(shard.digest for shard in WHOLE.shards):
        put(store, content(5, 9))
        with store.begin(SHARD, PIECE) as partial:
            receive(partial, DATA)
            partial.commit()
        store.record(WHOLE, "org/model:all")
        return store.materialise(WHOLE)


@pytest.fixture
def folder(store: Store) -> Path:
    return fetch(store, selection(*FIRST))


def weights(folder: Path) -> Path:
    return folder / "weights/a.safetensors"


def marked(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / ".modeldist-selection.json").read_bytes())["files"])


def test_a_sparse_file_has_its_ranges_at_their_places_and_holes_elsewhere(store: Store, folder: Path) -> None:
    found = weights(folder).read_bytes()
    assert len(found) == len(DATA)
    assert found[: 2 * PIECE] == DATA[: 2 * PIECE]
    assert not any(found[2 * PIECE :])
    assert weights(folder).stat().st_blocks * 512 <= 2 * PIECE + 4 * KIB
    assert weights(folder).stat().st_mode & 0o777 == 0o444


def test_huggingface_hub_finds_nothing_wrong_with_it(store: Store, folder: Path) -> None:
    (found,) = huggingface_hub.scan_cache_dir(store.hub).repos
    assert {file.file_name for revision in found.revisions for file in revision.files} >= {"a.safetensors"}
    assert not huggingface_hub.scan_cache_dir(store.hub).warnings


def test_the_snapshot_says_what_is_there(folder: Path) -> None:
    assert marked(folder) == {"weights/a.safetensors": {"size": len(DATA), "ranges": [[0, 2 * PIECE]]}}


def test_a_sparse_shard_passes_for_nothing_else(store: Store, folder: Path) -> None:
    part = selection(*FIRST)
    assert store.snapshot(part) == folder
    more = msgspec.structs.replace(part, files=selection(*SECOND).files)
    assert store.snapshot(more) is None
    whole = msgspec.structs.replace(part, files=WHOLE.files[:2])
    assert store.snapshot(whole) is None  # though a file of full size is there
    assert not store.has(SHARD.digest)
    assert not store.holds(whole)
    (stored,) = store.artifacts()
    assert stored.snapshot == folder
    assert stored.bytes_on_disk == len(CONFIG) + 2 * PIECE


def test_two_selections_share_the_pieces_that_both_want(store: Store, folder: Path) -> None:
    other = fetch(store, selection(*FIRST, *SECOND))
    assert weights(other).samefile(weights(folder))
    found = weights(other).read_bytes()
    assert found[: 2 * PIECE] == DATA[: 2 * PIECE]
    assert found[5 * PIECE : 7 * PIECE] == DATA[5 * PIECE : 7 * PIECE]
    assert found[15 * PIECE :] == DATA[15 * PIECE :]
    assert not any(found[7 * PIECE : 15 * PIECE])
    assert store.snapshot(selection(*FIRST)) == folder


def test_the_rest_fills_the_file_in_its_place(store: Store, folder: Path) -> None:
    with store.begin(SHARD, PIECE) as partial:
        assert len(partial.have()) == 2
    all_of_it = fetch_rest(store)
    assert weights(folder).read_bytes() == DATA
    assert weights(all_of_it).samefile(weights(folder))
    assert not (all_of_it / ".modeldist-selection.json").exists()
    assert store.snapshot(WHOLE) == all_of_it
    assert store.snapshot(selection(*FIRST)) == folder
    assert store.audit().damages == ()


def test_a_snapshot_made_again_says_that_its_files_are_whole_now(store: Store, folder: Path) -> None:
    fetch_rest(store)
    (folder / "config.json").unlink()
    assert store.materialise(selection(*FIRST)) == folder
    assert not (folder / ".modeldist-selection.json").exists()
    assert weights(folder).read_bytes() == DATA


def test_a_selection_of_what_is_whole_is_whole(store: Store) -> None:
    put(store, CONFIG)
    fetch_rest(store)
    folder = store.materialise(selection(*FIRST))
    assert weights(folder).read_bytes() == DATA
    assert not (folder / ".modeldist-selection.json").exists()


def test_a_snapshot_of_what_is_not_here_is_refused(store: Store, folder: Path) -> None:
    with pytest.raises(StorageError, match="not all bytes"):
        store.materialise(selection(*SECOND))
    assert store.snapshot(selection(*FIRST)) == folder


def test_a_model_may_have_a_file_of_the_name_that_says_what_is_there(store: Store) -> None:
    mine = b"of the model"
    whole = artifact_of({".modeldist-selection.json": mine, "a.bin": DATA})
    named, data = whole.files
    part = part_of(whole, named, msgspec.structs.replace(data, ranges=FIRST))
    put(store, mine)
    with store.begin(SHARD, PIECE, FIRST) as partial:
        receive(partial, DATA, [0, 1])
        partial.settle()
    folder = store.materialise(part)
    assert (folder / ".modeldist-selection.json").read_bytes() == mine
    assert store.snapshot(msgspec.structs.replace(part, files=whole.files)) is None


# --- what protects it, and what frees it ---------------------------------------------------------------------------


@pytest.fixture
def later(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """The same store a month from now."""
    opened: list[Store] = []

    def later() -> Store:
        opened.append(Store.open(tmp_path / "store", clock=lambda: time.time() + 30 * 86_400))
        return opened[-1]

    yield later
    for store in opened:
        store.close()


def test_an_old_sparse_shard_of_a_snapshot_is_no_garbage(folder: Path, later: Callable[[], Store]) -> None:
    report = later().gc()
    assert report.partials == 0
    assert weights(folder).read_bytes()[: 2 * PIECE] == DATA[: 2 * PIECE]
    assert later().snapshot(selection(*FIRST)) == folder


def test_an_old_partial_without_a_snapshot_is_garbage(store: Store, later: Callable[[], Store]) -> None:
    with store.begin(SHARD, PIECE, FIRST) as partial:
        receive(partial, DATA, [0])
    assert later().gc().partials == 1


def test_removing_the_model_frees_its_sparse_shards(store: Store, folder: Path) -> None:
    removed = store.remove(REFERENCE)
    assert removed.bytes_freed >= 2 * PIECE
    assert not folder.exists()
    assert not any((store.root / "partial").iterdir())
    assert store.sparse(SHARD.digest) is None


def test_removing_one_of_two_models_keeps_the_shards_they_share(store: Store, folder: Path) -> None:
    other = artifact_of({"weights/a.safetensors": DATA}, repo_id="org/other")
    part = part_of(other, msgspec.structs.replace(other.files[0], ranges=FIRST))
    store.record(part, "org/other:main")
    there = store.materialise(part)
    store.remove(REFERENCE)
    assert not folder.exists()
    assert store.snapshot(part) == there
    assert weights(there).read_bytes()[: 2 * PIECE] == DATA[: 2 * PIECE]


def test_what_is_leased_stays_when_the_model_is_removed(store: Store, folder: Path) -> None:
    with store.lease([SHARD.digest]):
        store.remove(REFERENCE)
        assert store.sparse(SHARD.digest) is not None


def test_an_unused_selection_is_evicted_for_space_but_not_a_pinned_one(
    folder: Path, later: Callable[[], Store]
) -> None:
    store = later()
    store.pin(REFERENCE)
    assert store.gc(max_age=86_400).artifacts == ()
    store.unpin(REFERENCE)
    would = store.gc(max_age=86_400, dry_run=True)
    assert (len(would.artifacts), would.partials) == (1, 1)
    assert weights(folder).exists()
    assert store.gc(max_age=86_400).partials == 1
    assert not folder.exists()


def test_only_the_wanted_bytes_are_reserved(store: Store) -> None:
    assert store.missing_bytes(selection(*FIRST)) <= len(CONFIG) + 256 * KIB
    fetch(store, selection(*FIRST))
    assert store.missing_bytes(selection(*FIRST)) == 0


# --- what is checked ------------------------------------------------------------------------------------------------


def test_verify_reads_the_pieces_that_are_there(store: Store, folder: Path) -> None:
    audit = store.audit()
    assert audit.damages == ()
    (part,) = audit.parts
    assert (part.file, part.bytes, part.size) == ("weights/a.safetensors", 2 * PIECE, len(DATA))
    assert part.references == (REFERENCE,)


def test_verify_finds_a_damaged_piece_and_a_pull_brings_it_again(store: Store, folder: Path) -> None:
    weights(folder).chmod(0o600)
    with weights(folder).open("r+b") as file:
        file.seek(PIECE + 100)
        file.write(b"damaged")
    audit = store.audit([REFERENCE])
    (damage,) = audit.damages
    assert (damage.flaw, damage.file) == ("content", "weights/a.safetensors")
    store.remove_damaged(audit)
    assert store.snapshot(selection(*FIRST)) is None
    with store.begin(SHARD, PIECE, FIRST) as partial:
        assert list(partial.have()) == [0]
    fetch(store, selection(*FIRST))
    assert store.audit().damages == ()
    assert weights(folder).read_bytes()[: 2 * PIECE] == DATA[: 2 * PIECE]


def test_verify_finds_that_the_pieces_are_gone(store: Store, folder: Path) -> None:
    (store.root / "partial" / SHARD.digest.replace(":", "-") / "journal").unlink()
    (damage,) = store.audit().damages
    assert damage.flaw == "missing"


# --- what may not change it -----------------------------------------------------------------------------------------


def test_starting_again_keeps_what_a_snapshot_shows(store: Store, folder: Path) -> None:
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, DATA, [2, 3])
        partial.reset()
        assert list(partial.have()) == [0, 1]
        partial.recut(2 * PIECE)
        assert list(partial.have()) == [0]
        partial.reset()
        assert list(partial.have()) == [0]


def test_pieces_that_are_not_what_they_must_be_are_forgotten(store: Store) -> None:
    with store.begin(SHARD, PIECE, FIRST) as partial:
        receive(partial, DATA, [0, 1])
        digests = partial.digests()
        partial.keep_only({0: digests[0], 1: bytes(32)})
        assert list(partial.have()) == [0]


def test_what_a_snapshot_shows_is_not_given_up_for_another_chunk_table(store: Store, folder: Path) -> None:
    with store.begin(SHARD, PIECE, FIRST) as partial:
        receive(partial, DATA, [2])
        digests = partial.digests()
        partial.keep_only({0: digests[0], 1: digests[1], 2: bytes(32)})
        assert list(partial.have()) == [0, 1]
        with pytest.raises(IntegrityError, match="another chunk table"):
            partial.keep_only({0: digests[0], 1: bytes(32)})
        assert list(partial.have()) == [0, 1]
        partial.reset(shown=True)  # unless the whole shard's own digest says that they are wrong
        assert not partial.have()


def test_pieces_that_came_later_and_were_not_proven_are_not_shown(store: Store, folder: Path) -> None:
    """As a pull of the whole leaves them that was stopped: nothing but the whole's digest would have proven them."""
    with store.begin(SHARD, PIECE) as partial:
        receive(partial, bytes(len(DATA)), [4])
    sparse = store.sparse(SHARD.digest)
    assert sparse is not None
    assert list(sparse.have) == [0, 1]
    with pytest.raises(StorageError, match="not all bytes"):
        store.materialise(selection((4 * PIECE, 5 * PIECE)))
    with store.begin(SHARD, PIECE) as partial:
        assert list(partial.have()) == [0, 1, 4]
        digests = partial.digests()
        partial.keep_only({0: digests[0], 1: digests[1], 4: bytes(32)})
        assert list(partial.have()) == [0, 1]
        partial.recut(2 * PIECE)
    sparse = store.sparse(SHARD.digest)
    assert sparse is not None
    assert sparse.ranges == ((0, 2 * PIECE),)
    assert store.audit().damages == ()


def test_a_sparse_shard_is_served_as_far_as_it_goes(store: Store, folder: Path) -> None:
    opened = store.directory().open(SHARD.digest)
    assert opened is not None
    try:
        assert list(opened.have()) == [0, 1]
        assert opened.layout.piece_size == PIECE
        assert os.pread(opened.fd, PIECE, PIECE) == DATA[PIECE : 2 * PIECE]
    finally:
        opened.close()


def test_nothing_of_a_pull_that_was_killed_is_served(store: Store) -> None:
    with store.begin(SHARD, PIECE, FIRST) as partial:
        receive(partial, DATA, [0])
    assert store.sparse(SHARD.digest) is None
    assert store.directory().open(SHARD.digest) is None


def test_a_list_of_holes_that_cannot_be_read_is_no_leave_to_take_them_for_content(store: Store, folder: Path) -> None:
    (selections,) = (store.hub / "models--org--model" / "selections").iterdir()
    selections.write_bytes(b"{")
    assert store.snapshot(selection(*FIRST)) is None
    assert store.materialise(selection(*FIRST)) == folder
    assert store.snapshot(msgspec.structs.replace(selection(*FIRST), files=WHOLE.files[:2])) is None
    assert marked(folder)


def test_two_files_of_one_content_may_want_different_ranges(store: Store) -> None:
    whole = artifact_of({"a.bin": DATA, "b.bin": DATA})
    wanted = zip(whole.files, (FIRST, SECOND), strict=True)
    part = part_of(whole, *(msgspec.structs.replace(file, ranges=ranges) for file, ranges in wanted))
    with store.begin(SHARD, PIECE, part.ranges_of(SHARD.digest)) as partial:
        receive(partial, DATA, partial.layout.touching(part.ranges_of(SHARD.digest)))
        partial.settle()
    folder = store.materialise(part)
    assert (folder / "a.bin").samefile(folder / "b.bin")
    assert store.snapshot(part) == folder


def test_in_a_hub_on_another_filesystem_it_is_a_symlink_to_be_made_again_when_the_rest_is_here(store: Store) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == store.root.stat().st_dev:
        pytest.skip("needs /dev/shm on a filesystem of its own")
    with tempfile.TemporaryDirectory(dir=memory) as hub:
        far = Store.open(store.root, hub=Path(hub))
        folder = fetch(far, selection(*FIRST))
        assert weights(folder).is_symlink()
        assert weights(folder).read_bytes()[: 2 * PIECE] == DATA[: 2 * PIECE]
        assert far.audit().damages == ()
        fetch_rest(far)
        assert far.snapshot(selection(*FIRST)) is None
        assert far.materialise(selection(*FIRST)) == folder
        assert weights(folder).read_bytes() == DATA
        assert far.snapshot(selection(*FIRST)) == folder
        assert far.audit().damages == ()
        far.close()
