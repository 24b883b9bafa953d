"""Shared by the tests of the origins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modeldist.artifact import Digest
from modeldist.origins.base import RangeReader
from modeldist.origins.settings import HttpSettings

QUICK = HttpSettings(connect_timeout=5, stall_timeout=5, retries=3, backoff=0.01, backoff_cap=0.02)

MODELSCOPE = ("MODELSCOPE_ENDPOINT", "MODELSCOPE_DOMAIN", "MODELSCOPE_API_TOKEN")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No proxies, tokens or caches of the person who runs the tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HF_TOKEN", "HF_ENDPOINT", *MODELSCOPE):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    yield
    import huggingface_hub

    huggingface_hub.close_session()


ReadRange = Callable[[RangeReader, Digest, int, int], bytes]


@pytest.fixture
def read_range(tmp_path: Path) -> ReadRange:
    """Reads a range into a file at a non-zero offset and checks the progress reported."""
    numbers = iter(range(1_000_000))

    def read(reader: RangeReader, shard: Digest, start: int, length: int) -> bytes:
        with scratch(tmp_path / f"into-{next(numbers)}") as fd:
            told: list[int] = []
            reader.read(shard, start, length, fd, 5, told.append)
            assert sum(told) == length
            assert max(told, default=0) <= 1 << 20
            assert os.fstat(fd).st_size == (length + 5 if length else 0)
            return os.pread(fd, length, 5)

    return read


@contextmanager
def scratch(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        yield fd
    finally:
        os.close(fd)
        path.unlink()
