"""Local files: allowed roots, Hugging Face caches, changes while reading."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from modeldist.errors import (
    AccessDenied,
    IntegrityError,
    NotEnoughSpace,
    NotFound,
    OriginUnavailable,
    StorageError,
    UnsafeArtifact,
    UsageError,
)
from modeldist.origins.local_paths import LocalPaths, copy_range
from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings
from tests.unit.origins.conformance import ReadRange
from tests.unit.origins.conftest import scratch

ANYWHERE = OriginSettings(file_roots=None)


async def test_nothing_is_allowed_unless_the_settings_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(AccessDenied, match="outside") as caught:
        await Origins().resolve((tmp_path / "a.bin").as_uri())
    assert "--file-root" in caught.value.remedy


async def test_links_do_not_lead_out_of_the_roots(tmp_path: Path, read_range: ReadRange) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (inside / "link").symlink_to(outside / "secret")
    origins = Origins(OriginSettings(file_roots=(inside,)))
    for reference in (inside / "link", inside / "../out/secret"):
        with pytest.raises(AccessDenied):
            await origins.resolve(reference.as_uri())
    with pytest.raises(UsageError, match="link out of the directory"):
        await origins.resolve(inside.as_uri())
    artifact = await Origins(ANYWHERE).resolve((outside / "secret").as_uri())
    with pytest.raises(AccessDenied):  # an artifact that came over the network names the path
        read_range(origins.reader(artifact), artifact.files[0].digest, 0, 6)


async def test_a_snapshot_of_a_hugging_face_cache(tmp_path: Path, read_range: ReadRange) -> None:
    repo = tmp_path / "hub/models--org--model"
    snapshot = repo / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "blobs/0123").write_bytes(b"weights")
    (snapshot / "model.bin").symlink_to("../../blobs/0123")
    (snapshot / "same.bin").symlink_to("../../blobs/0123")
    origins = Origins(OriginSettings(file_roots=(tmp_path / "hub",)))
    artifact = await origins.resolve(snapshot.as_uri())
    assert [file.path for file in artifact.files] == ["model.bin", "same.bin"]
    assert len(artifact.shards) == 1
    assert read_range(origins.reader(artifact), artifact.files[0].digest, 0, 7) == b"weights"


async def test_executables_stay_so(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_bytes(b"#!/bin/sh")
    (tmp_path / "run.sh").chmod(0o755)
    artifact = await Origins(ANYWHERE).resolve((tmp_path / "run.sh").as_uri())
    assert artifact.files[0].executable
    assert (await Origins(ANYWHERE).resolve(tmp_path.as_uri())).files[0].executable


async def test_what_is_no_file(tmp_path: Path) -> None:
    origins = Origins(ANYWHERE)
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises((NotFound, UsageError)):
            await origins.resolve(path.as_uri())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no files"):
        await origins.resolve((tmp_path / "empty").as_uri())
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises((NotFound, OriginUnavailable)):
        await origins.resolve((tmp_path / "loop").as_uri())


async def test_names_that_cannot_travel(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.bin")).write_bytes(b"x")
    with pytest.raises(UnsafeArtifact):
        await Origins(ANYWHERE).resolve(tmp_path.as_uri())


async def test_a_file_that_is_rewritten_while_being_read(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(3 << 20))
    origins = Origins(ANYWHERE)
    artifact = await origins.resolve(path.as_uri())

    def rewrite(count: int) -> None:
        path.write_bytes(b"short")

    with scratch(tmp_path / "into") as fd, pytest.raises(IntegrityError, match="changed"):
        origins.reader(artifact).read(artifact.files[0].digest, 0, 3 << 20, fd, 0, rewrite)


async def test_a_file_that_disappears(tmp_path: Path, read_range: ReadRange) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    artifact = await Origins(ANYWHERE).resolve(path.as_uri())
    path.unlink()
    with pytest.raises(NotFound):
        read_range(Origins(ANYWHERE).reader(artifact), artifact.files[0].digest, 0, 1)


# --- copying -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [True, False])
def test_copies_without_the_kernels_help(tmp_path: Path, kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old kernels and pairs of file systems refuse copy_file_range."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    if not kernel:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    body = os.urandom((2 << 20) + 5)
    (tmp_path / "a").write_bytes(body)
    told: list[int] = []
    with (tmp_path / "a").open("rb") as source, scratch(tmp_path / "b") as fd:
        copy_range(source.fileno(), 3, len(body) - 3, fd, 7, told.append, "a")
        assert os.pread(fd, len(body), 7) == body[3:]
        assert sum(told) == len(body) - 3 and max(told) <= 1 << 20
        with pytest.raises(IntegrityError):
            copy_range(source.fileno(), len(body) - 1, 2, fd, 0, told.append, "a")


def test_a_full_disk_and_a_broken_target(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    with (tmp_path / "a").open("rb") as source:
        full = os.open("/dev/full", os.O_WRONLY)
        with pytest.raises(NotEnoughSpace):
            copy_range(source.fileno(), 0, 100, full, 0, lambda _: None, "a")
        os.close(full)
        with pytest.raises(StorageError):
            copy_range(source.fileno(), 0, 100, source.fileno(), 0, lambda _: None, "a")


def test_too_many_open_files_are_none_of_the_origins_doing(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"x")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with (
            pytest.raises(StorageError, match="Too many open files") as caught,
            LocalPaths(None).open(tmp_path / "a.bin"),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "ulimit -n" in caught.value.remedy
