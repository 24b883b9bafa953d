"""OCI layout directories as origins: the conformance suite and what is particular to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeldist.errors import AccessDenied, IntegrityError, NotFound, Unsupported
from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings
from modelpack.build import build
from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor, Index, encode_manifest
from tests.unit.origins.conformance import FILES, OriginConformance, Place, ReadRange


def write_files(home: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    return home


def build_layout(tmp_path: Path, files: dict[str, bytes], tag: str, layout: str = "layout") -> OciLayout:
    made = OciLayout.create(tmp_path / layout)
    build(write_files(tmp_path / f"files-{tag}", files), made, ref=tag)
    return made


class TestLayout(OriginConformance):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        layout = build_layout(tmp_path, FILES, "v1")

        def move() -> None:
            build(write_files(tmp_path / "other", {"config.json": b"{}"}), layout, ref="v1")

        def spoil() -> None:
            weights = max((layout.path / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
            content = bytearray(weights.read_bytes())
            weights.unlink()
            content[0] ^= 1
            weights.write_bytes(content)

        return Place(
            Origins(OriginSettings(file_roots=(tmp_path,))),
            f"oci-layout:{layout.path}:v1",
            f"oci-layout:{layout.path}:v9",
            move=move,
            spoil=spoil,
        )


async def test_a_layout_of_one_manifest_needs_no_tag(tmp_path: Path) -> None:
    layout = build_layout(tmp_path, FILES, "v1")
    origins = Origins(OriginSettings(file_roots=None))
    artifact = await origins.resolve(f"oci-layout:{layout.path}")
    assert artifact.tag == "latest"
    assert await origins.still(artifact, f"oci-layout:{layout.path}:v1")
    build_layout(tmp_path, {"a.json": b"{}"}, "v2")
    with pytest.raises(NotFound, match="2 manifests"):
        await origins.resolve(f"oci-layout:{layout.path}")


async def test_a_manifest_with_a_whole_reference_for_a_name_is_found_by_its_tag(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path / "layout")
    first = build(write_files(tmp_path / "a", {"a.json": b"{}"}), layout, ref="registry.example/org/a:v1")
    build(write_files(tmp_path / "b", {"b.json": b"{}"}), layout, ref="registry.example/org/b:v2")
    origins = Origins(OriginSettings(file_roots=None))
    artifact = await origins.resolve(f"oci-layout:{layout.path}:v1")
    assert (artifact.digest, artifact.tag) == (first.digest, "v1")
    assert await origins.still(artifact, f"oci-layout:{layout.path}:v1")
    build(write_files(tmp_path / "c", {"c.json": b"{}"}), layout, ref="registry.example/org/c:v1")
    with pytest.raises(NotFound, match=r"2 manifests called 'v1'.*org/a:v1, .*org/c:v1"):
        await origins.resolve(f"oci-layout:{layout.path}:v1")


async def test_a_model_inside_an_index_keeps_the_digest_that_was_named(tmp_path: Path) -> None:
    layout = build_layout(tmp_path, FILES, "v1")
    model = layout.resolve("v1")
    index = Index(schema_version=2, media_type="application/vnd.oci.image.index.v1+json", manifests=(model,))
    outer: Descriptor = layout.add_manifest(encode_manifest(index), "all")
    origins = Origins(OriginSettings(file_roots=None))
    artifact = await origins.resolve(f"oci-layout:{layout.path}:all")
    assert artifact.digest == outer.digest
    assert {file.path for file in artifact.files} == set(FILES)
    assert await origins.still(artifact, f"oci-layout:{layout.path}:all")
    assert not await origins.still(artifact, f"oci-layout:{layout.path}@{model.digest}")


@pytest.mark.parametrize("roots", [(), ("elsewhere",)])
async def test_layouts_outside_the_roots_are_refused(tmp_path: Path, roots: tuple[str, ...]) -> None:
    layout = build_layout(tmp_path, FILES, "v1")
    allowed = tuple(tmp_path / root for root in roots)
    artifact = await Origins(OriginSettings(file_roots=None)).resolve(f"oci-layout:{layout.path}:v1")
    origins = Origins(OriginSettings(file_roots=allowed))
    with pytest.raises(AccessDenied):
        await origins.resolve(f"oci-layout:{layout.path}:v1")
    with pytest.raises(AccessDenied), (tmp_path / "into").open("wb") as into:
        shard = artifact.shards[-1]
        origins.reader(artifact).read(shard.digest, 0, 1, into.fileno(), 0, lambda _: None)


async def test_a_blob_that_is_gone_or_cut(tmp_path: Path, read_range: ReadRange) -> None:
    layout = build_layout(tmp_path, FILES, "v1")
    origins = Origins(OriginSettings(file_roots=None))
    artifact = await origins.resolve(f"oci-layout:{layout.path}:v1")
    shard = max(artifact.shards, key=lambda shard: shard.size)
    blob = layout.path / "blobs" / shard.digest.replace(":", "/")
    blob.unlink()
    with pytest.raises(NotFound):
        read_range(origins.reader(artifact), shard.digest, 0, 10)
    blob.write_bytes(b"short")
    with pytest.raises(IntegrityError, match="has 5 bytes"):
        read_range(origins.reader(artifact), shard.digest, 0, 10)


async def test_what_is_no_layout_or_no_model(tmp_path: Path) -> None:
    origins = Origins(OriginSettings(file_roots=None))
    with pytest.raises(NotFound):
        await origins.resolve(f"oci-layout:{tmp_path / 'none'}")
    (tmp_path / "plain").mkdir()
    with pytest.raises(NotFound, match="no OCI image layout"):
        await origins.resolve(f"oci-layout:{tmp_path / 'plain'}")
    layout = OciLayout.create(tmp_path / "images")
    config = layout.blobs.add(b"{}", "application/vnd.oci.image.config.v1+json")
    image = (
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":'
        f'{{"mediaType":"{config.media_type}","digest":"{config.digest}","size":2}},"layers":[]}}'
    )
    layout.add_manifest(image.encode(), "v1")
    with pytest.raises(Unsupported) as caught:
        await origins.resolve(f"oci-layout:{layout.path}:v1")
    assert caught.value.remedy
