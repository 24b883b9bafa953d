"""What every origin must do, whatever it is. Subclass `OriginConformance` and give it a `place` fixture."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from modeldist.artifact import Digest, algorithm, parse_digest
from modeldist.errors import IntegrityError, NotFound, OriginProtocolError
from modeldist.origins import selected
from modeldist.origins.base import RangeReader
from modeldist.origins.router import Origins
from modelpack.names import check_names

FILES: dict[str, bytes] = {
    "config.json": b'{"model_type": "tiny"}',
    "empty.txt": b"",
    "sub/deep/model.safetensors": os.urandom(3_000_001),
}


class Change(Protocol):
    def __call__(self) -> None:
        """Replace what `reference` means by other content, and break what was there."""


@dataclass
class Place:
    """A real origin of one kind with something in it. `missing` names nothing; `move` makes `reference` mean
    something else; `spoil` damages the bytes under an unchanged artifact."""

    origins: Origins
    reference: str
    missing: str
    move: Change
    spoil: Change
    contents: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    pinned: str = ""


class ReadRange(Protocol):
    def __call__(self, reader: RangeReader, shard: Digest, start: int, length: int) -> bytes: ...


class OriginConformance:
    """Each test is a sentence about every origin."""

    async def test_resolves_to_the_files_that_are_there(self, place: Place) -> None:
        artifact = await place.origins.resolve(place.reference)
        assert {f.path: f.size for f in artifact.files} == {p: len(c) for p, c in place.contents.items()}
        check_names(file.path for file in artifact.files)
        for file in artifact.files:
            parse_digest(file.digest)
            assert _holds(place.contents[file.path], file.digest)

    async def test_the_artifact_is_named_well(self, place: Place) -> None:
        artifact = await place.origins.resolve(place.reference)
        assert len(artifact.revision) == 40 and set(artifact.revision) <= set("0123456789abcdef")
        assert algorithm(artifact.digest) == "sha256"
        assert artifact.reference.startswith(artifact.name)
        from huggingface_hub.utils import validate_repo_id

        validate_repo_id(artifact.repo_id)
        assert len(artifact.repo_id) <= 96 and artifact.repo_id.count("/") == 1
        assert place.origins.origin_of(artifact) is place.origins.origin_for(place.reference)

    async def test_a_part_is_an_artifact_of_its_own(self, place: Place, read_range: ReadRange) -> None:
        asked = selected.join(place.reference, f"only={sorted(place.contents)[0]}")
        whole, part = await place.origins.resolve(place.reference), await place.origins.resolve(asked)
        (file,) = part.files
        assert file in whole.files
        assert part.digest != whole.digest and part.revision != whole.revision and not part.tag
        assert await place.origins.still(part, asked)
        assert not await place.origins.still(whole, asked)
        assert not await place.origins.still(part, place.reference)
        again = await place.origins.resolve(part.reference)
        assert (again.digest, again.files) == (part.digest, part.files)
        with closing(place.origins.reader(part)) as reader:
            if file.size:
                assert read_range(reader, file.digest, 0, file.size) == place.contents[file.path]

    async def test_resolving_twice_gives_the_same(self, place: Place) -> None:
        assert await place.origins.resolve(place.reference) == await place.origins.resolve(place.reference)

    async def test_the_pinned_reference_resolves_to_the_same_files(self, place: Place) -> None:
        artifact = await place.origins.resolve(place.reference)
        again = await place.origins.resolve(artifact.reference)
        assert again.files == artifact.files
        assert again.repo_id == artifact.repo_id
        assert await place.origins.still(artifact, artifact.reference)

    async def test_canonical_is_stable_and_means_the_same(self, place: Place) -> None:
        canonical = place.origins.canonical(place.reference)
        assert place.origins.canonical(canonical) == canonical
        assert await place.origins.resolve(canonical) == await place.origins.resolve(place.reference)

    async def test_still_until_it_moves(self, place: Place) -> None:
        artifact = await place.origins.resolve(place.reference)
        assert await place.origins.still(artifact, place.reference)
        place.move()
        assert not await place.origins.still(artifact, place.reference)
        moved = await place.origins.resolve(place.reference)
        assert moved.digest != artifact.digest
        assert moved.repo_id == artifact.repo_id

    async def test_reads_ranges_exactly(self, place: Place, read_range: ReadRange) -> None:
        artifact = await place.origins.resolve(place.reference)
        reader = place.origins.reader(artifact)
        try:
            for file in artifact.files:
                content = place.contents[file.path]
                for start, length in _ranges(len(content)):
                    assert read_range(reader, file.digest, start, length) == content[start : start + length]
        finally:
            reader.close()

    async def test_several_readers_at_once(self, place: Place, read_range: ReadRange) -> None:
        artifact = await place.origins.resolve(place.reference)
        file = max(artifact.files, key=lambda f: f.size)
        content, piece = place.contents[file.path], 400_000
        pieces: dict[int, bytes] = {}

        def read_every_third(first: int) -> None:
            reader = place.origins.reader(artifact)
            try:
                for start in range(first * piece, file.size, 3 * piece):
                    length = min(piece, file.size - start)
                    pieces[start] = read_range(reader, file.digest, start, length)
            finally:
                reader.close()

        threads = [threading.Thread(target=read_every_third, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert b"".join(pieces[start] for start in sorted(pieces)) == content

    async def test_a_reader_stops_when_told(self, place: Place, tmp_path: Path) -> None:
        artifact = await place.origins.resolve(place.reference)
        file = max(artifact.files, key=lambda f: f.size)

        class Stop(Exception):
            pass

        heard: list[int] = []

        def stop(count: int) -> None:
            heard.append(count)
            if len(heard) == 2:
                raise Stop

        reader = place.origins.reader(artifact)
        with (tmp_path / "into").open("wb") as into:
            with pytest.raises(Stop):
                reader.read(file.digest, 0, file.size, into.fileno(), 0, stop)
            told: list[int] = []
            reader.read(file.digest, 0, file.size, into.fileno(), 0, told.append)  # and can be used again
        reader.close()
        assert (tmp_path / "into").read_bytes() == place.contents[file.path]

    async def test_what_is_missing_is_not_found(self, place: Place) -> None:
        with pytest.raises(NotFound) as caught:
            await place.origins.resolve(place.missing)
        assert caught.value.message and caught.value.remedy

    async def test_spoilt_content_is_never_taken_for_good(self, place: Place, read_range: ReadRange) -> None:
        artifact = await place.origins.resolve(place.reference)
        file = max(artifact.files, key=lambda f: f.size)
        place.spoil()
        reader = place.origins.reader(artifact)
        try:
            with pytest.raises((IntegrityError, OriginProtocolError)):
                content = read_range(reader, file.digest, 0, file.size)
                if not _holds(content, file.digest):
                    raise IntegrityError("found by the digest, as the engine does")
        finally:
            reader.close()


def _ranges(size: int) -> list[tuple[int, int]]:
    if size == 0:
        return [(0, 0)]
    half = size // 2
    return [(0, size), (half, min(1000, size - half)), (size - 1, 1), (0, 1), (size, 0)]


def _holds(content: bytes, digest: Digest) -> bool:
    """Whether content has the digest; an `etag:` digest says nothing about content."""
    if algorithm(digest) == "sha256":
        return digest == "sha256:" + hashlib.sha256(content).hexdigest()
    if algorithm(digest) == "git-sha1":
        return digest == "git-sha1:" + hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return True
