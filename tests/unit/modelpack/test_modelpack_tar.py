"""Tar layers, against archives written by the standard library and against hostile ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import InvalidTar, UnsafeName
from modelpack.names import NameSet
from modelpack.tarlayer import extract_tar, tar_entries
from modelpack.tarsource import TarLimits
from modelpack.tarstream import CHUNK, MAX_EXTENSION, MAX_EXTENSIONS, TarEntry

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def archive(*entries: tuple[tarfile.TarInfo, bytes], fmt: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=fmt) as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def files(contents: dict[str, bytes], fmt: int = tarfile.PAX_FORMAT) -> bytes:
    return archive(*((member(name), content) for name, content in contents.items()), fmt=fmt)


def packed(raw: bytes, encoding: str) -> io.BytesIO:
    if encoding == "tar+gzip":
        return io.BytesIO(gzip.compress(raw[: len(raw) // 2]) + gzip.compress(raw[len(raw) // 2 :]))
    if encoding == "tar+zstd":
        half = len(raw) // 2
        compress = zstandard.ZstdCompressor().compress
        return io.BytesIO(compress(raw[:half]) + compress(raw[half:]))
    return io.BytesIO(raw)


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def listed(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


part = st.text(st.sampled_from("abcdéx-"), min_size=1, max_size=120)
contents = st.dictionaries(
    st.lists(part, min_size=1, max_size=3).map("/".join), st.binary(max_size=1200), min_size=1, max_size=5
)


@given(contents, st.sampled_from(FORMATS[1:]), st.sampled_from(["tar", "tar+gzip", "tar+zstd"]))
def test_what_the_standard_library_packs_is_unpacked_alike(wanted, fmt, encoding):
    raw = files(wanted, fmt)
    try:
        listing = tar_entries(packed(raw, encoding), encoding)
    except UnsafeName:
        return  # too long, or clashing with each other: names have tests of their own
    with tempfile.TemporaryDirectory() as room:
        result = extract_tar(packed(raw, encoding), encoding, Path(room))
        assert tree(Path(room)) == wanted
    assert {entry.name: entry.size for entry in listing.entries} == {name: len(data) for name, data in wanted.items()}
    assert {file.path: file.digest for file in result.files} == {
        name: "sha256:" + hashlib.sha256(data).hexdigest() for name, data in wanted.items()
    }
    assert result.diff_id == listing.diff_id == "sha256:" + hashlib.sha256(raw).hexdigest()
    assert result.size == listing.size == len(raw)


@given(st.binary(max_size=3000), st.sampled_from(["tar", "tar+gzip", "tar+zstd"]))
def test_bytes_that_are_no_archive(data, encoding):
    with pytest.raises(InvalidTar, match="archive"):
        tar_entries(io.BytesIO(data), encoding)


@given(st.data())
def test_a_flipped_or_lost_byte_never_writes_outside(data):
    raw = bytearray(files({"a/b": b"x" * 600, "c": b"y"}))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    with tempfile.TemporaryDirectory() as room:
        inside = Path(room, "inside")
        with suppress(InvalidTar, UnsafeName):
            extract_tar(io.BytesIO(raw[:cut]), "tar", inside)
        assert listed(Path(room)) == ["inside"]


@pytest.mark.parametrize("fmt", FORMATS)
def test_modes_and_directories(tmp_path, fmt):
    raw = archive(
        (member("./", tarfile.DIRTYPE), b""),
        (member("./empty/", tarfile.DIRTYPE), b""),
        (member("./run.sh", mode=0o4755), b"#!"),
        (member("./empty", tarfile.DIRTYPE), b""),
        fmt=fmt,
    )
    result = extract_tar(io.BytesIO(raw), "tar", tmp_path / "new")
    assert (tmp_path / "new" / "empty").is_dir()
    assert [(file.path, file.executable) for file in result.files] == [("run.sh", True)]
    assert (tmp_path / "new" / "run.sh").stat().st_mode & 0o7777 == 0o755 & ~_umask()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def test_prefixes_of_ustar_and_directories_before_posix(tmp_path):
    name = "/".join(["d" * 60, "e" * 60, "file"])
    assert [
        entry.name for entry in tar_entries(io.BytesIO(files({name: b""}, tarfile.USTAR_FORMAT)), "tar").entries
    ] == [name]
    old = archive((member("old/", tarfile.AREGTYPE), b""), fmt=tarfile.GNU_FORMAT)
    assert tar_entries(io.BytesIO(old), "tar").entries == (TarEntry("old", "directory", 0, 0o644),)


@pytest.mark.parametrize("fmt", FORMATS[1:])
def test_long_names_and_targets(tmp_path, fmt):
    name, target = "/".join(["d" * 90] * 3), "/".join(["t" * 90] * 2)
    raw = archive((member(name), b"content"), (member("link", tarfile.SYMTYPE, target), b""), fmt=fmt)
    result = extract_tar(io.BytesIO(raw), "tar", tmp_path, links=True)
    assert [file.path for file in result.files] == [name]
    assert result.links == (("link", target),)


def test_binary_sizes_of_gnu():
    raw = bytearray(files({"a": b"12345"}, tarfile.GNU_FORMAT))
    raw[124:136] = b"\x80" + (5).to_bytes(11, "big")
    assert tar_entries(io.BytesIO(resummed(raw)), "tar").entries[0].size == 5


def test_sizes_and_targets_in_pax_headers():
    info = member("a")
    info.pax_headers = {"size": "5"}
    raw = bytearray(archive((info, b"12345")))
    assert tar_entries(io.BytesIO(raw), "tar").entries[0].size == 5
    for bad in ("-5", "five", "9" * 30):
        info.pax_headers = {"size": bad}
        with pytest.raises(InvalidTar, match="whose size is"):
            tar_entries(io.BytesIO(archive((info, b"12345"))), "tar")


def resummed(raw: bytearray, start: int = 0) -> bytes:
    """The archive with the checksum of the header at `start` made right again."""
    raw[start + 148 : start + 156] = b" " * 8
    raw[start + 148 : start + 156] = b"%06o\0 " % sum(raw[start : start + 512])
    return bytes(raw)


HOSTILE = {
    "traversal": (files({"../evil": b""}), UnsafeName, "leads out"),
    "absolute": (files({"/evil": b""}), UnsafeName, "absolute"),
    "absolute directory": (archive((member("/", tarfile.DIRTYPE), b"")), UnsafeName, "absolute"),
    "twice": (archive((member("a"), b"1"), (member("./a"), b"2")), UnsafeName, "twice"),
    "case": (files({"a": b"", "A": b""}), UnsafeName, "same as"),
    "file and directory": (files({"a": b"", "a/b": b""}), UnsafeName, "is the file"),
    "empty part": (files({"a//b": b""}), UnsafeName, "empty part"),
    "symlink": (archive((member("a", tarfile.SYMTYPE, "b"), b"")), InvalidTar, "a symlink"),
    "hard link": (archive((member("a", tarfile.LNKTYPE, "b"), b"")), InvalidTar, "a hardlink"),
    "device": (archive((member("a", tarfile.CHRTYPE), b"")), InvalidTar, "special"),
    "pipe": (archive((member("a", tarfile.FIFOTYPE), b"")), InvalidTar, "special"),
    "sparse": (archive((member("a", tarfile.GNUTYPE_SPARSE), b"")), InvalidTar, "unknown type"),
    "no tar": (b"<html>" + b" " * 2000, InvalidTar, "no tar"),
    "not UTF-8": (files({"a\udcff": b""}, tarfile.GNU_FORMAT), InvalidTar, "not UTF-8"),
    "cut header": (files({"a": b""})[:300], InvalidTar, "middle of a header"),
    "cut body": (files({"a": b"x" * 600})[:1000], InvalidTar, "middle of a file"),
    "cut padding": (files({"a": b"x" * 600})[:1200], InvalidTar, "middle of a file"),
    "no end": (files({"a": b""})[:512], InvalidTar, "without its end marker"),
    "nothing": (b"", InvalidTar, "without its end marker"),
    "data after the end": (files({"a": b""}) + files({"b": b""}), InvalidTar, "after its end"),
    "bad number": (
        resummed(bytearray(files({"a": b""})[:124] + b"9" * 11 + files({"a": b""})[135:])),
        InvalidTar,
        "size",
    ),
    "damaged": (b"b" + files({"a": b""})[1:], InvalidTar, "damaged header"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(tmp_path, case):
    raw, error, says = HOSTILE[case]
    with pytest.raises(error, match=says):
        tar_entries(io.BytesIO(raw), "tar")
    with pytest.raises(error, match=says):
        extract_tar(io.BytesIO(raw), "tar", tmp_path / "inside")
    assert listed(tmp_path) == ["inside"]


def pax_archive(kind: bytes, records: bytes, size: int | None = None) -> io.BytesIO:
    header = bytearray(files({"PaxHeader": b""}, tarfile.USTAR_FORMAT)[:512])
    header[124:136] = b"%011o\0" % (len(records) if size is None else size)
    header[156:157] = kind
    return io.BytesIO(resummed(header) + records.ljust(-(-len(records) // 512) * 512, b"\0") + files({"a": b""}))


@pytest.mark.parametrize(
    ("kind", "records", "says"),
    [
        (b"x", b"22 GNU.sparse.major=1\n", "sparse"),
        (b"g", b"10 path=x\n", "for all its entries"),
        (b"x", b"nonsense", "damaged pax"),
        (b"x", b"99 path=x\n", "damaged pax"),
        (b"x", b"0 path=x\n", "damaged pax"),
        (b"x", b"11 path=\0x\n", "damaged pax"),
        (b"x", b"10 path=\xff\n", "not UTF-8"),
    ],
)
def test_hostile_pax_headers(kind, records, says):
    with pytest.raises(InvalidTar, match=says):
        tar_entries(pax_archive(kind, records), "tar")


def test_pax_headers_of_very_many_records():
    """A megabyte of the smallest records there are costs one pass over it."""
    assert tar_entries(pax_archive(b"x", b"5 a=\n" * (MAX_EXTENSION // 5)), "tar").entries[0].name == "a"


def test_endless_extension_headers():
    """They make no entry, so the limit of entries does not end them."""
    longest = pax_archive(b"L", b"name" * (MAX_EXTENSION // 4)).getvalue()[: 512 + MAX_EXTENSION]
    with pytest.raises(InvalidTar, match="bytes of extension headers"):
        tar_entries(io.BytesIO(longest * (MAX_EXTENSIONS // MAX_EXTENSION)), "tar")


def test_names_of_a_megabyte():
    """Some of what is asked of a name takes time that grows with its square."""
    for name in ("./" * 400_000, "a/" * 400_000):
        pairs = f"path={name}file\n"
        record = f"{len(pairs) + 7} {pairs}".encode()
        with pytest.raises(InvalidTar, match="more than 4095 bytes"):
            tar_entries(pax_archive(b"x", record), "tar")


def test_endless_pax_records():
    """Each costs more than its bytes do, so they are counted besides."""
    header = pax_archive(b"x", b"5 a=\n" * (MAX_EXTENSION // 5)).getvalue()
    with pytest.raises(InvalidTar, match=r"records in its pax headers\. .*tell its publisher"):
        tar_entries(io.BytesIO(header[: 512 + MAX_EXTENSION] * 4), "tar")


def test_pax_headers_that_say_nothing_of_weight():
    assert tar_entries(pax_archive(b"g", b"17 comment=hello\n"), "tar").entries[0].name == "a"


def test_limits():
    many = files({f"f{number}": b"" for number in range(4)})
    with pytest.raises(InvalidTar, match="more than 3 entries"):
        tar_entries(io.BytesIO(many), "tar", limits=TarLimits(entries=3))
    with pytest.raises(InvalidTar, match="more than 1024 bytes"):
        tar_entries(io.BytesIO(many), "tar", limits=TarLimits(total_bytes=1024))
    with pytest.raises(InvalidTar, match="at most 1048576"):
        tar_entries(pax_archive(b"x", b"", size=2**30), "tar")


@pytest.mark.parametrize("encoding", ["tar+gzip", "tar+zstd"])
def test_bombs(tmp_path, encoding):
    bomb = packed(files({"zeros": bytes(8 * CHUNK)}), encoding)
    with pytest.raises(InvalidTar, match="20 times its size"):
        extract_tar(bomb, encoding, tmp_path, limits=TarLimits(ratio=20, ratio_free_bytes=CHUNK))
    assert (tmp_path / "zeros").stat().st_size < 4 * CHUNK
    bomb.seek(0)
    assert tar_entries(bomb, encoding).entries[0].size == 8 * CHUNK


@pytest.mark.parametrize("encoding", ["tar+gzip", "tar+zstd"])
def test_damaged_compression(encoding):
    whole = packed(files({"a": os.urandom(5000)}), encoding).getvalue()
    with pytest.raises(InvalidTar):
        tar_entries(io.BytesIO(whole[:200]), encoding)
    with pytest.raises(InvalidTar, match="cannot be decompressed"):
        tar_entries(io.BytesIO(b"\x00" * 20 + whole), encoding)


def test_raw_is_no_archive():
    with pytest.raises(InvalidTar, match="no archive"):
        tar_entries(io.BytesIO(b""), "raw")


def test_names_are_checked_across_layers():
    names = NameSet()
    tar_entries(io.BytesIO(files({"a": b""})), "tar", names=names)
    with pytest.raises(UnsafeName, match="twice"):
        tar_entries(io.BytesIO(files({"a": b""})), "tar", names=names)


def test_links_inside_are_made_when_asked_for(tmp_path):
    raw = archive(
        (member("sub/up", tarfile.SYMTYPE, "../data"), b""),
        (member("here", tarfile.SYMTYPE, "sub/other"), b""),
        (member("data"), b"content"),
    )
    result = extract_tar(io.BytesIO(raw), "tar", tmp_path, links=True)
    assert (tmp_path / "sub" / "up").read_bytes() == b"content"
    assert result.links == (("sub/up", "../data"), ("here", "sub/other"))


@pytest.mark.parametrize("target", ["/etc", "..", "../x", "sub/../../x", "a/./b", ".", "", "a//b", "sub/.."])
def test_links_that_could_lead_out_are_refused(tmp_path, target):
    raw = archive((member("link", tarfile.SYMTYPE, "placeholder"), b""))
    broken = bytearray(raw)
    broken[157:257] = target.encode().ljust(100, b"\0")
    with pytest.raises(UnsafeName, match="link 'link' leads to"):
        extract_tar(io.BytesIO(resummed(broken)), "tar", tmp_path, links=True)


def test_nothing_is_written_through_a_link(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    for name in ("link/evil", "link/deeper/evil"):
        with pytest.raises(UnsafeName, match="leads through 'link'"):
            extract_tar(io.BytesIO(files({name: b"evil"})), "tar", inside)
    with pytest.raises(UnsafeName, match="exists already"):
        extract_tar(io.BytesIO(files({"link": b"evil"})), "tar", inside)
    with pytest.raises(UnsafeName, match="exists already"):
        extract_tar(io.BytesIO(archive((member("link", tarfile.SYMTYPE, "x"), b""))), "tar", inside, links=True)
    both = archive((member("l", tarfile.SYMTYPE, "x"), b""), (member("l/evil"), b"evil"))
    with pytest.raises(UnsafeName, match="is the file 'l'"):
        extract_tar(io.BytesIO(both), "tar", inside, links=True)
    assert listed(outside) == []


def test_a_file_where_a_directory_must_be(tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(UnsafeName, match="which is a link or a file"):
        extract_tar(io.BytesIO(files({"a/b": b""})), "tar", tmp_path)
    assert (tmp_path / "a").read_bytes() == b"mine"
