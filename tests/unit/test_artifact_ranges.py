"""What a selection wants of an artifact's files, and of the shards behind them."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.artifact import Artifact, ArtifactFile, Digest, united

ONE, OTHER = Digest("sha256:" + "1" * 64), Digest("sha256:" + "2" * 64)


def artifact(*files: ArtifactFile) -> Artifact:
    return Artifact("r", "n", "t", ONE, "0" * 40, "a/b", "oci", "https://here", "a/b", files)


def test_a_file_without_ranges_looks_on_the_wire_as_it_always_did() -> None:
    file = ArtifactFile("model.safetensors", ONE, 100)
    assert b"ranges" not in msgspec.msgpack.encode(file)
    assert msgspec.json.decode(msgspec.json.encode(file), type=ArtifactFile) == file


def test_ranges_survive_the_wire() -> None:
    file = ArtifactFile("model.safetensors", ONE, 100, ranges=((0, 10), (50, 60)))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(file), type=ArtifactFile) == file
    assert file != ArtifactFile("model.safetensors", ONE, 100)


def test_a_shard_is_wanted_as_far_as_its_files_are_wanted_together() -> None:
    parts = artifact(
        ArtifactFile("a", ONE, 100, ranges=((0, 10), (50, 60))),
        ArtifactFile("b", ONE, 100, ranges=((5, 20),)),
        ArtifactFile("c", OTHER, 7),
    )
    assert parts.ranges_of(ONE) == ((0, 20), (50, 60))
    assert parts.ranges_of(OTHER) == ()
    with pytest.raises(KeyError):
        parts.ranges_of(Digest("sha256:" + "3" * 64))


@pytest.mark.parametrize("whole_first", [True, False])
def test_one_file_that_wants_all_of_a_shard_wants_all_of_it(whole_first: bool) -> None:
    part, whole = ArtifactFile("a", ONE, 100, ranges=((0, 10),)), ArtifactFile("b", ONE, 100)
    assert artifact(*((whole, part) if whole_first else (part, whole))).ranges_of(ONE) == ()


@given(st.lists(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)))))
def test_united_ranges_hold_the_same_bytes_in_order_and_apart(ranges: list[list[tuple[int, int]]]) -> None:
    whole = united(*ranges)
    assert [byte for start, stop in whole for byte in range(start, stop)] == sorted(
        {byte for some in ranges for start, stop in some for byte in range(start, stop)}
    )
    assert all(stop < start for (_, stop), (start, _) in pairwise(whole))
