"""OCI image layouts: what goes in comes out checked, and the index survives many writers."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

import modelpack
from modelpack import mediatypes
from modelpack.config import ModelConfig, ModelFS, encode_config
from modelpack.digests import digest_of, sha256_digest
from modelpack.errors import DigestMismatch, InvalidManifest, LayoutError, SizeMismatch, UnsafeName
from modelpack.hashing import hash_files
from modelpack.layout import OciLayout
from modelpack.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest, encode_manifest
from modelpack.placement import place_file
from modelpack.verify import verify_layout


@pytest.fixture
def layout(tmp_path: Path) -> OciLayout:
    return OciLayout.create(tmp_path / "layout")


def add_model(layout: OciLayout, *layers: Descriptor, diff_ids: tuple[str, ...] = (), ref: str = "v1") -> Descriptor:
    config = ModelConfig(modelfs=ModelFS(diff_ids=diff_ids or tuple(layer.digest for layer in layers)))
    manifest = Manifest(
        schema_version=2,
        media_type=mediatypes.OCI_MANIFEST,
        artifact_type=mediatypes.CNCF_ARTIFACT,
        config=layout.blobs.add(encode_config(config), mediatypes.CNCF_CONFIG),
        layers=layers,
    )
    return layout.add_manifest(encode_manifest(manifest), ref)


def add_layer(layout: OciLayout, content: bytes, path: str, encoding: str = "raw") -> Descriptor:
    stored = layout.blobs.add(content, mediatypes.layer_type("weight", encoding))  # type: ignore[arg-type]
    return Descriptor(
        media_type=stored.media_type,
        digest=stored.digest,
        size=stored.size,
        annotations={mediatypes.FILEPATH: path},
    )


def tar_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def test_a_model_goes_in_and_comes_out(layout):
    pointer = add_model(layout, add_layer(layout, b"weights", "m.bin"))
    opened = OciLayout.open(layout.path)
    assert opened.refs() == {"v1": pointer}
    assert opened.manifest("v1") == opened.manifest(pointer.digest) == opened.manifest()
    opened.verify()
    assert [file.path for file in verify_layout(opened).files] == ["m.bin"]
    assert OciLayout.create(layout.path).index() == opened.index()


def test_skopeo_reads_the_layout(layout):
    pointer = add_model(layout, add_layer(layout, b"weights", "m.bin"))
    try:
        shown = subprocess.run(
            ["skopeo", "inspect", "--raw", f"oci:{layout.path}:v1"], capture_output=True, timeout=60, check=True
        )
    except FileNotFoundError:
        pytest.skip("skopeo is not installed")
    assert sha256_digest(shown.stdout) == pointer.digest


def test_a_ref_moves_and_is_forgotten(layout):
    first = add_model(layout, add_layer(layout, b"1", "m.bin"))
    second = add_model(layout, add_layer(layout, b"2", "m.bin"))
    assert layout.refs() == {"v1": second}
    third = add_model(layout, add_layer(layout, b"3", "m.bin"), ref="")
    add_model(layout, add_layer(layout, b"3", "m.bin"), ref="")
    assert [entry.digest for entry in layout.index().manifests] == [second.digest, third.digest]
    with pytest.raises(LayoutError, match="holds 2 manifests"):
        layout.resolve()
    layout.remove("v1")
    assert layout.resolve() == third
    layout.remove(third.digest)
    assert layout.index().manifests == ()
    with pytest.raises(LayoutError, match=r"holds no 'v1'.*none"):
        layout.remove("v1")
    assert layout.blobs.has(first)


def test_what_has_a_name_has_no_entry_without_one(layout):
    nameless = add_model(layout, add_layer(layout, b"1", "m.bin"), ref="")
    named = add_model(layout, add_layer(layout, b"1", "m.bin"), ref="host:5000/org/m:v1")
    add_model(layout, add_layer(layout, b"1", "m.bin"), ref="")
    assert nameless.digest == named.digest
    assert layout.index().manifests == (named,)
    assert layout.resolve("host:5000/org/m:v1") == layout.resolve("v1") == named


def test_a_signature_under_a_tag_is_not_meant_where_nothing_is_named(layout):
    model = add_model(layout, add_layer(layout, b"1", "m.bin"))
    add_model(layout, add_layer(layout, b"signed", "s"), ref=f"{model.digest.replace(':', '-')}.sig")
    assert layout.resolve() == model
    for number in range(9):
        add_model(layout, add_layer(layout, b"%d" % number, "m.bin"), ref=f"v{number}")
    with pytest.raises(LayoutError, match=r"holds 9 manifests.*in it: v0, v1, [v2-8, ]*v7, …\.$"):
        layout.resolve()


def test_writers_do_not_lose_each_others_entries(layout):
    def add(number: int) -> None:
        mine = OciLayout.open(layout.path)
        add_model(mine, add_layer(mine, str(number).encode(), "m.bin"), ref=f"v{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert layout.refs().keys() == {f"v{number}" for number in range(24)}
    assert not list(layout.path.rglob(".new-*"))


def test_a_model_inside_an_index(layout):
    model = add_model(layout, add_layer(layout, b"1", "m.bin"), ref="inner")
    layout.remove("inner")
    inner = Index(schema_version=2, media_type=mediatypes.OCI_INDEX, manifests=(model,))
    layout.add_manifest(encode_manifest(inner), "outer")
    assert layout.manifest("outer")[0].digest == model.digest
    layout.verify()


def test_indexes_in_indexes_end_somewhere(layout):
    pointer = add_model(layout, add_layer(layout, b"1", "m.bin"), ref="")
    for depth in range(5):
        entry = Descriptor(
            media_type=pointer.media_type,
            digest=pointer.digest,
            size=pointer.size,
            artifact_type=mediatypes.CNCF_ARTIFACT,
        )
        nested = Index(schema_version=2, media_type=mediatypes.OCI_INDEX, manifests=(entry,))
        pointer = layout.add_manifest(encode_manifest(nested), f"depth{depth}")
    with pytest.raises(InvalidManifest, match="nested too deeply"):
        layout.manifest("depth4")


def test_what_is_no_layout(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(LayoutError, match="no OCI image layout"):
            OciLayout.open(path)
        with pytest.raises(LayoutError, match="is there and no OCI image layout"):
            OciLayout.create(path)
    for version in (b"[]", b'{"imageLayoutVersion":"2.0.0"}'):
        (tmp_path / "oci-layout").write_bytes(version)
        with pytest.raises(LayoutError, match="unknown version"):
            OciLayout.open(tmp_path)


def test_an_index_that_is_gone_or_a_manifest(layout):
    pointer = add_model(layout, add_layer(layout, b"1", "m.bin"))
    (layout.path / "index.json").write_bytes(layout.blobs.read(pointer))
    with pytest.raises(InvalidManifest, match="is a manifest"):
        layout.index()
    (layout.path / "index.json").unlink()
    with pytest.raises(LayoutError, match=r"no readable index\.json"):
        layout.index()


def test_an_empty_or_unfinished_directory_becomes_a_layout(tmp_path):
    (tmp_path / "empty").mkdir()
    layout = OciLayout.create(tmp_path / "empty")
    pointer = add_model(layout, add_layer(layout, b"1", "m.bin"))
    (layout.path / "oci-layout").unlink()  # as after a crash, or while another process makes it
    assert OciLayout.create(layout.path).resolve("v1") == pointer


def test_many_create_the_same_layout_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        layouts = list(pool.map(lambda _: OciLayout.create(tmp_path / "layout"), range(16)))
    assert all(layout.index().manifests == () for layout in layouts)


@pytest.mark.parametrize("encoding", ["raw", "tar"])
def test_every_kind_of_damage_is_found(layout, encoding):
    content = tar_of("m.bin") if encoding == "tar" else b"weights"
    layer = add_layer(layout, content, "m.bin", encoding)
    add_model(layout, layer)
    path = layout.blobs.path_of(layer.digest)
    path.write_bytes(content[:-1] + b"!")
    for check in (layout.verify, lambda: verify_layout(layout)):
        with pytest.raises(DigestMismatch, match=layer.digest):
            check()
    path.write_bytes(content + b"!")
    with pytest.raises(SizeMismatch, match=f"has {len(content) + 1} bytes"):
        verify_layout(layout)
    path.unlink()
    with pytest.raises(LayoutError, match="is missing"):
        layout.verify()


def test_a_damaged_manifest_is_not_parsed(layout):
    pointer = add_model(layout, add_layer(layout, b"1", "m.bin"))
    path = layout.blobs.path_of(pointer.digest)
    path.write_bytes(path.read_bytes().replace(b"m.bin", b"n.bin"))
    with pytest.raises(DigestMismatch):
        layout.manifest("v1")


def test_blobs_that_cannot_be_named_or_held(layout):
    with pytest.raises(LayoutError, match="is not a digest"):
        layout.blobs.path_of("sha256:../../x")
    big = Descriptor(media_type="x", digest=sha256_digest(b""), size=2**40)
    with pytest.raises(LayoutError, match="at most"):
        layout.blobs.read(big)
    assert not layout.blobs.has(big)


def test_other_algorithms(layout):
    digest = digest_of(b"data", "sha512:")
    path = layout.blobs.path_of(digest)
    path.parent.mkdir()
    path.write_bytes(b"data")
    layout.blobs.check(Descriptor(media_type="x", digest=digest, size=4))


def test_compressed_layers_are_compared_with_their_diff_id(layout):
    raw = tar_of("m.bin")
    layer = add_layer(layout, gzip.compress(raw, mtime=0), "m", "tar+gzip")
    add_model(layout, layer, diff_ids=(sha256_digest(raw),), ref="good")
    add_model(layout, layer, ref="bad")
    assert verify_layout(layout, "good").deviations == ()
    with pytest.raises(DigestMismatch, match="unpacks to"):
        verify_layout(layout, "bad")
    lenient = verify_layout(layout, "bad", mode="lenient")
    assert [deviation.code for deviation in lenient.deviations] == ["diff-id-mismatch"]


def test_names_are_checked_across_files_and_archives(layout):
    add_model(
        layout,
        add_layer(layout, tar_of("dir/m.bin"), "archive", "tar"),
        add_layer(layout, b"weights", "dir"),
    )
    with pytest.raises(UnsafeName, match="is the file 'dir'"):
        verify_layout(layout)


def test_a_failed_write_leaves_nothing(layout):
    target = layout.path / "blobs" / "sha256" / sha256_digest(b"x").partition(":")[2]
    target.mkdir()  # a directory where the blob belongs: the rename fails
    (target / "occupied").write_bytes(b"")
    with pytest.raises(OSError):
        layout.blobs.add(b"x", "text/plain")
    assert not list(layout.path.rglob(".new-*"))


def test_files_are_linked_or_copied(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"data")
    how = place_file(source, target)
    assert how in ("reflink", "hardlink", "copy")
    assert target.read_bytes() == b"data"
    assert (source.stat().st_ino == target.stat().st_ino) is (how == "hardlink")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_another_file_system_takes_a_copy(tmp_path):
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    source = tmp_path / "source"
    source.write_bytes(b"data")
    target = elsewhere / f"modelpack-{tmp_path.name}-{source.stat().st_ino}"
    try:
        assert place_file(source, target) == "copy"
        assert target.read_bytes() == b"data"
    finally:
        target.unlink(missing_ok=True)


def test_many_files_are_hashed_in_order(tmp_path):
    paths = [tmp_path / str(number) for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * number * 1000)
    assert [hashed.digest for hashed in hash_files(paths)] == [sha256_digest(path.read_bytes()) for path in paths]


def test_the_package_offers_its_names_and_no_others():
    for name in modelpack.__all__:
        assert getattr(modelpack, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        modelpack.nonsense  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("stranger", ["pipe", "device"])
def test_what_is_no_file_is_not_waited_for(layout: OciLayout, stranger: str) -> None:
    described = add_model(layout, layer := add_layer(layout, b"weights", "model.bin"))

    def exchange(path: Path) -> None:
        path.unlink()
        if stranger == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")

    exchange(layout.blobs.path_of(layer.digest))
    with pytest.raises(LayoutError, match=f"{layer.digest} cannot be read"):
        layout.blobs.check(layer)
    exchange(layout.blobs.path_of(described.digest))
    with pytest.raises(LayoutError, match=f"{described.digest} cannot be read"):
        layout.manifest("v1")
    exchange(layout.path / "index.json")
    with pytest.raises(LayoutError, match=r"no readable index\.json"):
        layout.index()
    exchange(layout.path / "oci-layout")
    with pytest.raises(LayoutError, match="is no OCI image layout"):
        OciLayout.open(layout.path)


def test_an_index_without_end_is_not_read_whole(layout: OciLayout) -> None:
    os.truncate(layout.path / "index.json", 1 << 40)
    with pytest.raises(InvalidManifest, match="at most"):
        layout.index()


def test_a_full_index_takes_no_more_and_loses_nothing(layout: OciLayout) -> None:
    described = add_model(layout, add_layer(layout, b"weights", "model.bin"))
    other = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest="sha256:" + "1" * 64, size=1, annotations={"a": ""})
    entries = [described]
    index = Index(schema_version=2, media_type=mediatypes.OCI_INDEX, manifests=tuple(entries))
    room = MAX_MANIFEST_BYTES - len(encode_manifest(index)) - len(encode_manifest(index)) // 2
    filler = msgspec.structs.replace(other, annotations={"a": "x" * (room - 200)})
    index = msgspec.structs.replace(index, manifests=(*index.manifests, filler))
    (layout.path / "index.json").write_bytes(encode_manifest(index))
    with pytest.raises(LayoutError, match=r"index\.json of .* would have"):
        for number in range(20):
            add_model(layout, add_layer(layout, b"%d" % number, "model.bin"), ref=f"v{number}" * 20)
    assert layout.resolve("v1").digest == described.digest
    layout.remove(filler.digest)
    add_model(layout, add_layer(layout, b"more", "model.bin"), ref="more")
