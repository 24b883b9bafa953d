"""Tar layers in all encodings: listed and unpacked alike, and nothing beside the directory they are unpacked into."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import zstandard

from modelpack.mediatypes import Encoding
from modelpack.tarlayer import ExtractedTar, TarListing, extract_tar, tar_entries
from modelpack.tarsource import TarLimits
from modelpack.tarstream import BLOCK
from tests.fuzz.target import Target
from tests.refusals import value_of

LIMITS = TarLimits(entries=100, total_bytes=2**20, ratio=20, ratio_free_bytes=2**18)


def seeds() -> Iterator[bytes]:
    for fmt in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        raw = archive(fmt)
        yield raw
        yield gzip.compress(raw, mtime=0)
        yield zstandard.ZstdCompressor().compress(raw)


def archive(fmt: int) -> bytes:
    """Files, a directory, both kinds of links, and a name that needs an extension header where there is one."""
    long = "/".join(["d" * 60, "e" * 60, "f" * (60 if fmt == tarfile.USTAR_FORMAT else 110)])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=fmt) as tar:
        for name, kind, target, content in (
            ("./", tarfile.DIRTYPE, "", b""),
            ("sub/", tarfile.DIRTYPE, "", b""),
            ("sub/a", tarfile.REGTYPE, "", b"content"),
            (long, tarfile.REGTYPE, "", b""),
            ("link", tarfile.SYMTYPE, "sub/a", b""),
            ("hard", tarfile.LNKTYPE, "sub/a", b""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def check(data: bytes) -> None:
    """The archive as it is, and with the checksums of its headers made right: else few changes get past them."""
    check_encoded(data, _encoding(data))
    if _encoding(data) == "tar":
        check_encoded(resummed(data), "tar")


def check_encoded(data: bytes, encoding: Encoding) -> None:
    for links in (False, True):
        listed = value_of(partial(tar_entries, io.BytesIO(data), encoding, limits=LIMITS, links=links))
        with tempfile.TemporaryDirectory() as room:
            inside = Path(room, "inside")
            unpack = partial(extract_tar, io.BytesIO(data), encoding, inside, limits=LIMITS, links=links)
            unpacked = value_of(unpack)
            assert [path.name for path in Path(room).iterdir()] == ["inside"]
            assert (listed is None) == (unpacked is None)
            if listed is not None and unpacked is not None:
                _compare(listed, unpacked, inside)


def _compare(listed: TarListing, unpacked: ExtractedTar, inside: Path) -> None:
    assert (listed.diff_id, listed.size) == (unpacked.diff_id, unpacked.size)
    files = {entry.name for entry in listed.entries if entry.type in ("file", "hardlink")}
    assert {file.path for file in unpacked.files} == files
    links = {entry.name: entry.target for entry in listed.entries if entry.type == "symlink"}
    assert dict(unpacked.links) == links
    on_disk = {
        path.relative_to(inside).as_posix(): path
        for folder, folders, names in os.walk(inside)  # which, unlike rglob, takes links to names that are too long
        for path in (Path(folder, name) for name in (*folders, *names))
        if path.is_symlink() or not path.is_dir()
    }
    assert set(on_disk) == files | set(links)
    for file in unpacked.files:
        assert on_disk[file.path].stat().st_size == file.size
    for name in links:
        assert os.path.commonpath([os.path.realpath(on_disk[name]), os.path.realpath(inside)]) == os.path.realpath(
            inside
        )


def resummed(data: bytes) -> bytes:
    """With the checksum of each header made right, as far as headers follow each other."""
    raw, start = bytearray(data), 0
    while start + BLOCK <= len(raw) and any(raw[start : start + BLOCK]):
        raw[start + 148 : start + 156] = b" " * 8
        raw[start + 148 : start + 156] = b"%06o\0 " % sum(raw[start : start + BLOCK])
        digits = bytes(raw[start + 124 : start + 135]).strip(b" \0")
        size = int(digits, 8) if digits and not digits.strip(b"01234567") else 0
        start += BLOCK + -(-size // BLOCK) * BLOCK
    return bytes(raw)


def _encoding(data: bytes) -> Encoding:
    if data.startswith(b"\x1f\x8b"):
        return "tar+gzip"
    return "tar+zstd" if data.startswith(b"\x28\xb5\x2f\xfd") else "tar"


WORDS = (
    *b"../ / ./ GNU.sparse. 00000000000 77777777777 x g L K 0 1 2 5 7 \x80 \xff ustar\x0000".split(),
    *(b"ustar  \0", b"12 path=a/b\n", b"10 size=5\n", b"14 linkpath=x\n", bytes(BLOCK)),
)
TARGET = Target("tar", check, seeds, WORDS, longest=12 * 1024)
