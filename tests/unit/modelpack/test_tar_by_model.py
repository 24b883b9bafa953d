"""Any archive the standard library can write: unpacked as its own reader sees it, or refused, nothing ever outside."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpack.errors import InvalidTar, UnsafeName
from modelpack.tarlayer import tar_entries
from tests.fuzz.targets.tar import LIMITS, check, check_encoded
from tests.refusals import check_sentence, value_of

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.FIFOTYPE: "special",
    tarfile.CHRTYPE: "special",
}
ENCODINGS = {
    "tar": lambda raw: raw,
    "tar+gzip": gzip.compress,
    "tar+zstd": lambda raw: zstandard.ZstdCompressor().compress(raw),
}

parts = st.sampled_from(["a", "b", "é" * 40, "d" * 60, "..", ".", "", "A"])
paths = st.lists(parts, min_size=1, max_size=4).map("/".join) | st.text(max_size=6)
members = st.tuples(
    paths,
    st.sampled_from(sorted(KINDS)),
    paths,
    st.binary(max_size=600),
    st.integers(0, 0o7777),
    st.dictionaries(
        st.sampled_from(["path", "linkpath", "comment", "SCHILY.xattr.user.x", "mtime"]), paths, max_size=2
    ),
)


def written(entries, fmt: int) -> bytes | None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=fmt, encoding="utf-8", errors="surrogateescape") as tar:
        for name, kind, target, content, mode, extra in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, target, mode
            info.pax_headers = dict(extra)
            info.size = len(content) if info.isreg() else 0
            try:
                tar.addfile(info, io.BytesIO(content))
            except ValueError:  # too long for the format, or half a character
                return None
    return buffer.getvalue()


@settings(max_examples=60)
@given(st.lists(members, max_size=4), st.sampled_from(FORMATS), st.sampled_from(sorted(ENCODINGS)))
def test_any_archive_of_the_standard_library(entries, fmt, encoding):
    raw = written(entries, fmt)
    if raw is None:
        return
    check_encoded(ENCODINGS[encoding](raw), encoding)
    listed = value_of(lambda: tar_entries(io.BytesIO(raw), "tar", limits=LIMITS, links=True))
    if listed is None:
        return
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        theirs = [(_clean(info.name), _kind(info), info.size if info.isreg() else 0) for info in tar]
    ours = [(entry.name, entry.type, entry.size) for entry in listed.entries]
    assert ours == [entry for entry in theirs if entry[:2] not in {("", "directory"), (".", "directory")}]


def _clean(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name


def _kind(info: tarfile.TarInfo) -> str:
    return KINDS.get(info.type, "?")


@settings(max_examples=40)
@given(st.data())
def test_archives_with_changes(data):
    """Changes at random places, with and without the headers' checksums made right."""
    whole = written(
        [
            ("sub/", tarfile.DIRTYPE, "", b"", 0o755, {}),
            ("sub/a", tarfile.REGTYPE, "", b"x" * 600, 0o644, {}),
            ("l", tarfile.SYMTYPE, "sub/a", b"", 0, {"path": "é"}),
        ],
        data.draw(st.sampled_from(FORMATS)),
    )
    assert whole is not None
    raw = bytearray(ENCODINGS[data.draw(st.sampled_from(sorted(ENCODINGS)))](whole))
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


def test_the_longest_target_a_link_can_have():
    """Linux takes 4095 bytes; one more is refused before anything is unpacked."""
    for length, fits in ((4095, True), (4096, False)):
        raw = written([("l", tarfile.SYMTYPE, "a" * length, b"", 0, {})], tarfile.PAX_FORMAT)
        assert raw is not None
        check_encoded(raw, "tar")
        found = value_of(lambda raw=raw: tar_entries(io.BytesIO(raw), "tar", links=True))
        assert (found is not None) == fits


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_long_names_make_short_sentences(kind):
    raw = written([("../" + "\u202e/" * 900, kind, "/", b"", 0, {})], tarfile.PAX_FORMAT)
    assert raw is not None
    with pytest.raises((InvalidTar, UnsafeName)) as caught:
        tar_entries(io.BytesIO(raw), "tar", links=True)
    check_sentence(caught.value.message, naming="\\u202e")
