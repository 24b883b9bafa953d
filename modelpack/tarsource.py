"""The bytes of a tar layer: decompressed, hashed for its diffId, and stopped when they become too many."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from modelpack.errors import InvalidTar
from modelpack.mediatypes import Encoding
from modelpack.tarstream import Readable

_ZSTD_WINDOW = 128 * 1024 * 1024  # bytes of memory one archive may ask for (zstd --long)


@dataclass(frozen=True, slots=True)
class TarLimits:
    """What one archive may unpack to. The ratio counts only beyond `ratio_free_bytes`, as runs of zeros are normal."""

    entries: int = 100_000
    total_bytes: int = 16 * 1024**4
    ratio: int = 200  # uncompressed to compressed bytes
    ratio_free_bytes: int = 256 * 1024**2


class TarSource:
    """Reads the uncompressed archive. After the last byte, `diff_id` and `size` are those of the whole."""

    def __init__(self, plain: Readable, counted: _Counted, limits: TarLimits) -> None:
        self._plain = plain
        self._counted = counted
        self._limits = limits
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end. Raises InvalidTar on damaged data or beyond a limit."""
        try:
            data = self._plain.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
            raise InvalidTar(f"The archive cannot be decompressed: {problem}.") from None
        self._hash.update(data)
        self.size += len(data)
        if self.size > self._limits.total_bytes:
            raise InvalidTar(f"The archive unpacks to more than {self._limits.total_bytes} bytes.")
        if self.size > max(self._limits.ratio_free_bytes, self._counted.count * self._limits.ratio):
            raise InvalidTar(f"The archive unpacks to more than {self._limits.ratio} times its size.")
        return data

    @property
    def diff_id(self) -> str:
        return "sha256:" + self._hash.hexdigest()


@contextmanager
def open_tar(source: BinaryIO, encoding: Encoding, limits: TarLimits) -> Iterator[TarSource]:
    """The archive in `source`, which stays open."""
    counted = _Counted(source)
    if encoding == "tar+gzip":
        with gzip.GzipFile(fileobj=cast(BinaryIO, counted), mode="rb") as plain:
            yield TarSource(plain, counted, limits)
    elif encoding == "tar+zstd":
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        with decompressor.stream_reader(cast(BinaryIO, counted), read_across_frames=True, closefd=False) as frames:
            yield TarSource(_Zstd(frames), counted, limits)
    elif encoding == "tar":
        yield TarSource(counted, counted, limits)
    else:
        raise InvalidTar(f"A layer of encoding {encoding!r} is no archive.")


class _Counted:
    """Counts what was read of the compressed bytes."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self.count += len(data)
        return data


class _Zstd:
    """Gives zstandard's errors the class of zlib's, so that the module need not be there to catch them."""

    def __init__(self, frames: Readable) -> None:
        self._frames = frames

    def read(self, size: int, /) -> bytes:
        import zstandard

        try:
            return self._frames.read(size)
        except zstandard.ZstdError as problem:
            raise zlib.error(str(problem)) from None
