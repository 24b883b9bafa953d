"""Layers as archives, the chunk table of a build, and builds on two days."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard

from modelpack import mediatypes
from modelpack.build import build
from modelpack.chunk_table import CHUNK_TABLE_ANNOTATION, CHUNK_TABLE_TYPE, chunk_digests, chunk_size_for, parse_table
from modelpack.digests import sha256_digest
from modelpack.layout import OciLayout
from modelpack.verify import verify_layout

WEIGHTS = os.urandom(700_000) * 8 + b"end"
FILES = {"sub dir/weights.bin": WEIGHTS, "config.json": b'{"model_type": "toy"}', "é.md": b"# toy", "empty.txt": b""}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "model" / "run.sh").write_bytes(b"#!")
    (tmp_path / "model" / "run.sh").chmod(0o755)
    return tmp_path / "model"


@pytest.fixture
def layout(tmp_path: Path) -> OciLayout:
    return OciLayout.create(tmp_path / "layout")


@pytest.mark.parametrize("encoding", ["tar", "tar+gzip", "tar+zstd"])
def test_kinds_are_packed_as_asked(encoding, model, layout):
    built = build(model, layout, ref="v1", encodings={"weight": encoding, "code": encoding}, environ={})
    assert verify_layout(layout, "v1").deviations == ()
    by_path = {layer.annotations[mediatypes.FILEPATH]: layer for layer in built.manifest.layers}
    assert by_path["config.json"].media_type.endswith(".raw")
    weights = by_path["sub dir/weights.bin"]
    assert weights.media_type == f"application/vnd.cncf.model.weight.v1.{encoding}"
    raw = layout.blobs.path_of(weights.digest).read_bytes()
    plain = {
        "tar": bytes,
        "tar+gzip": gzip.decompress,
        "tar+zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    }
    unpacked = plain[encoding](raw)
    number = built.manifest.layers.index(weights)
    assert built.config.modelfs.diff_ids[number] == sha256_digest(unpacked)
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        (entry,) = archive.getmembers()
        assert (entry.name, entry.mode, entry.uid, entry.gid, entry.uname, entry.mtime) == (
            "sub dir/weights.bin", 0o644, 0, 0, "", 1_735_689_600,
        )  # fmt: skip
        content = archive.extractfile(entry)
        assert content is not None
        assert content.read() == WEIGHTS
    script = layout.blobs.path_of(by_path["run.sh"].digest).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(plain[encoding](script))) as archive:
        assert archive.getmembers()[0].mode == 0o755


@pytest.mark.parametrize("encodings", [{}, {"weight": "tar+gzip"}])
def test_the_chunk_table_proves_every_blob(encodings, model, layout):
    built = build(model, layout, ref="v1", encodings=encodings, environ={})
    (referrer,) = layout.referrers(built.digest, CHUNK_TABLE_TYPE)
    _, about = layout.manifest(referrer.digest)
    raw = layout.blobs.read(about.layers[0])
    assert built.manifest.annotations[CHUNK_TABLE_ANNOTATION] == sha256_digest(raw)
    table = parse_table(raw)
    table.check_against((layer.digest, layer.size) for layer in built.manifest.layers)
    for layer in built.manifest.layers:
        content = layout.blobs.path_of(layer.digest).read_bytes()
        chunks = table.of(layer.digest)
        assert chunks is not None
        assert chunks.digests == chunk_digests(content, chunk_size_for(len(content)))
    layout.verify()


def test_without_a_chunk_table(model, layout):
    built = build(model, layout, ref="v1", chunk_table=False, environ={})
    assert built.manifest.annotations == {}
    assert layout.referrers(built.digest) == ()


BUILD = """
import os, sys
from pathlib import Path
from modelpack.build import build
from modelpack.layout import OciLayout
os.umask(int(sys.argv[3], 8))
kinds = ("weight", "code") if sys.argv[4] == "packed" else ()
print(build(Path(sys.argv[1]), OciLayout.create(Path(sys.argv[2])), encodings=dict.fromkeys(kinds, "tar+zstd")).digest)
"""


@pytest.mark.parametrize("how", ["raw", "packed"])
@pytest.mark.parametrize("epoch", ["", "1700000000"])
def test_two_days_two_people_one_digest(how, epoch, tmp_path):
    """Other times, umask, order of creation, time zone, place and owner (where root may change it)."""
    digests = set()
    for day, names in enumerate((list(FILES), list(reversed(FILES)))):
        root = tmp_path / f"day {day}" / ("deeper" * day) / "model"
        before = os.umask(0o077 if day else 0o002)
        try:
            for name in names:
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(FILES[name])
                os.utime(path, (1_600_000_000 + day * 86_400, 1_600_000_000 + day * 86_400))
                if os.geteuid() == 0:
                    os.chown(path, 1000 * day, 1000 * day)
        finally:
            os.umask(before)
        environment = {**os.environ, "TZ": "Asia/Kathmandu" if day else "UTC", "LC_ALL": "C"}
        environment |= {"SOURCE_DATE_EPOCH": epoch} if epoch else {}
        arguments = [str(root), str(tmp_path / f"layout {day}"), "077" if day else "002", how]
        done = subprocess.run(
            [sys.executable, "-c", BUILD, *arguments], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1
