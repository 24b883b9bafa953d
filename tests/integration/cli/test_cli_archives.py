"""`modeldist pull` of models packed in archives: every packing, links, archives that would harm, disks too small."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.servers.oci_faults import MODEL_CONFIG, MODEL_MANIFEST, OCI_MANIFEST, FaultyRegistry
from tests.servers.shell import Shell

WEIGHTS = b"weights" * 1000
FILES = {"config.json": b"{}", "sub/model.safetensors": WEIGHTS}
PACKINGS = {"tar": bytes, "tar+gzip": gzip.compress, "tar+zstd": zstandard.compress}
KITFILE = {"package": {"name": "toy", "version": "1"}, "model": {"path": "."}}


def archive(files: Mapping[str, bytes], *others: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in others:
            tar.addfile(member)
    return out.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def publish(
    registry: FaultyRegistry,
    layers: Mapping[str, bytes],
    *,
    config: tuple[str, Any] = (MODEL_CONFIG, {}),
    artifact_type: str = MODEL_MANIFEST,
    annotations: Mapping[str, str] | None = None,
) -> str:
    """An artifact of one layer per media type; its reference."""
    raw = json.dumps(config[1]).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": {"mediaType": config[0], "digest": registry.add_blob("org/packed", raw), "size": len(raw)},
        "layers": [
            {
                "mediaType": media_type,
                "digest": registry.add_blob("org/packed", data),
                "size": len(data),
                "annotations": dict(annotations or {}),
            }
            for media_type, data in layers.items()
        ],
    }
    registry.add_manifest("org/packed", "v1", json.dumps(manifest).encode())
    return f"{registry.host}/org/packed:v1"


def weight(packing: str) -> str:
    return f"application/vnd.cncf.model.weight.v1.{packing}"


def content(snapshot: Path) -> dict[str, bytes]:
    return {str(path.relative_to(snapshot)): path.read_bytes() for path in snapshot.rglob("*") if path.is_file()}


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing(shell: Shell, faulty: FaultyRegistry, packing: str) -> None:
    reference = publish(faulty, {weight(packing): PACKINGS[packing](archive(FILES))})
    snapshot = shell.pull(reference)
    assert content(snapshot) == FILES
    assert not any(os.access(path, os.W_OK) for path in snapshot.rglob("*.json")) or os.geteuid() == 0
    before = len(faulty.seen("blobs"))
    assert shell.pull(reference) == snapshot
    assert len(faulty.seen("blobs")) == before


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_model_kit(shell: Shell, faulty: FaultyRegistry, packing: str) -> None:
    layers = {
        f"application/vnd.kitops.modelkit.model.v1.{packing}": PACKINGS[packing](archive({"model.gguf": WEIGHTS})),
        f"application/vnd.kitops.modelkit.docs.v1.{packing}": PACKINGS[packing](archive({"docs/README.md": b"# Toy"})),
    }
    config = ("application/vnd.kitops.modelkit.config.v1+json", KITFILE)
    reference = publish(faulty, layers, config=config, artifact_type="")
    assert content(shell.pull(reference)) == {"model.gguf": WEIGHTS, "docs/README.md": b"# Toy"}


def test_links_that_stay_inside_are_kept(shell: Shell, faulty: FaultyRegistry) -> None:
    packed = archive(
        FILES,
        link("model.safetensors", "sub/model.safetensors"),
        link("latest", "sub"),
        link("sub/again", "../model.safetensors"),
        link("copy.json", "./config.json", tarfile.LNKTYPE),
    )
    reference = publish(faulty, {weight("tar"): packed})
    snapshot = shell.pull(reference)
    assert (snapshot / "model.safetensors").is_symlink()
    assert (snapshot / "latest/model.safetensors").read_bytes() == WEIGHTS
    assert content(snapshot) == {
        **FILES,
        "model.safetensors": WEIGHTS,
        "sub/again": WEIGHTS,
        "copy.json": b"{}",
    }
    (snapshot / "model.safetensors").unlink()  # whatever is lost comes back, without the network's bytes
    before = len(faulty.seen("blobs"))
    assert shell.pull(reference) == snapshot
    assert (snapshot / "model.safetensors").is_symlink()
    assert len(faulty.seen("blobs")) <= before + 1


def image_of(registry: FaultyRegistry, *layers: bytes) -> str:
    """The digest of a container image, its layers packed in turn as tar and gzip."""
    described = []
    for number, layer in enumerate(layers):
        data = gzip.compress(layer) if number % 2 else layer
        media_type = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if number % 2 else "")
        described.append({"mediaType": media_type, "digest": registry.add_blob("org/packed", data), "size": len(data)})
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": registry.add_blob("org/packed", config),
            "size": len(config),
        },
        "layers": described,
    }
    return registry.add_manifest("org/packed", "v1", json.dumps(manifest).encode())


def test_an_image_that_carries_a_model(shell: Shell, faulty: FaultyRegistry) -> None:
    old = {"old.bin": b"old", "dir/a": b"a", "gone/b": b"b", "config.json": b""}
    base = archive(
        {"bin/sh": b"#!", **{f"models/{path}": data for path, data in old.items()}},
        link("etc/mtab", "/proc/mounts"),
        link("dev/null", "", tarfile.CHRTYPE),
    )
    new = {"config.json": b"{}", "sub/model.safetensors": WEIGHTS, "dir/c": b"c"}
    whiteouts = {".wh.old.bin": b"", ".wh.gone": b"", "dir/.wh..wh..opq": b""}
    upper = archive(
        {f"./models/{path}": data for path, data in {**new, **whiteouts}.items()}, link("./models/latest", "sub")
    )
    digest = image_of(faulty, base, upper)
    snapshot = shell.pull(f"{faulty.host}/org/packed:v1")
    assert content(snapshot) == new
    assert (snapshot / "latest/model.safetensors").read_bytes() == WEIGHTS
    assert shell.pull(f"{faulty.host}/org/packed:v1") == snapshot
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": OCI_MANIFEST,
                "digest": digest,
                "size": len(faulty.manifests["org/packed", digest][0]),
                "platform": {"architecture": architecture, "os": "linux"},
            }
            for architecture in ("amd64", "arm64")
        ],
    }
    faulty.add_manifest("org/packed", "multi", json.dumps(index).encode(), str(index["mediaType"]))
    assert content(shell.pull(f"{faulty.host}/org/packed:multi")) == content(snapshot)


def test_an_image_without_a_model(shell: Shell, faulty: FaultyRegistry) -> None:
    image_of(faulty, archive({"bin/sh": b"#!"}))
    assert "nothing below /models" in shell.fails(19, "pull", f"{faulty.host}/org/packed:v1")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ((link("out", "/etc"),), "'/etc'"),
        ((link("out", "../../.."),), "'../../..'"),
        ((link("sub/out", "../../config.json"),), "'../../config.json'"),
        ((link("out", "nothing", tarfile.LNKTYPE),), "no file before it"),
        ((link("out", "sub"), link("out/in", "x")), "'out'"),
        ((link("disk", "", tarfile.BLKTYPE),), "special"),
    ],
    ids=["absolute", "up", "up from below", "hard link to nothing", "through a link", "device"],
)
def test_an_archive_that_would_harm(
    shell: Shell, faulty: FaultyRegistry, members: tuple[tarfile.TarInfo, ...], words: str
) -> None:
    reference = publish(faulty, {weight("tar"): archive(FILES, *members)})
    sentence = shell.fails(11, "pull", reference)
    assert words in sentence
    assert f"{reference}, layer weight-0 (sha256:" in sentence
    assert "tell its publisher" in sentence
    assert not list(shell.store.rglob("snapshots/*/*"))


@pytest.mark.parametrize(
    ("packing", "data", "words"),
    [
        ("tar+gzip", b"no gzip", "cannot be decompressed"),
        ("tar", archive(FILES)[:700], "ends in the middle of a file"),
        ("tar", b"x" * 2048, "checksum"),
    ],
    ids=["no gzip", "short", "no tar"],
)
def test_a_damaged_archive(shell: Shell, faulty: FaultyRegistry, packing: str, data: bytes, words: str) -> None:
    """It is said of what, and what to do."""
    reference = publish(faulty, {weight(packing): data})
    sentence = shell.fails(11, "pull", reference)
    assert f"{reference}, layer weight-0 (sha256:" in sentence
    assert words in sentence
    assert "tell its publisher" in sentence


def test_an_archive_that_swells(shell: Shell, faulty: FaultyRegistry) -> None:
    swollen = gzip.compress(archive({"zeros": bytes(300 << 20)}))
    sentence = shell.fails(11, "pull", publish(faulty, {weight("tar+gzip"): swollen}))
    assert "more than 200 times its size" in sentence
    assert not list(shell.store.rglob("zeros"))


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("told", [True, False], ids=["told by its publisher", "found while unpacking"])
def test_a_disk_too_small_for_what_is_unpacked(shell: Shell, faulty: FaultyRegistry, told: bool) -> None:
    packed = gzip.compress(archive({"zeros": bytes(20 << 20)}))
    metadata = json.dumps({"name": "zeros", "size": 20 << 20})
    annotations = {"org.cncf.model.file.metadata+json": metadata} if told else {}
    reference = publish(faulty, {weight("tar+gzip"): packed}, annotations=annotations)
    with small_disk(shell.store, "8m"):
        sentence = shell.fails(13, "pull", reference)
        assert "needs 20,9" in sentence
        assert "modeldist gc" in sentence
        assert not list(shell.store.rglob("zeros"))
        assert len({exchange.path for exchange in faulty.seen("blobs", "GET")}) == (1 if told else 2)


def test_a_disk_too_small_for_a_plain_archive_is_found_before_the_first_byte(
    shell: Shell, faulty: FaultyRegistry
) -> None:
    reference = publish(faulty, {weight("tar"): archive({"model.bin": bytes(5 << 20)})})
    with small_disk(shell.store, "8m"):
        shell.fails(13, "pull", reference)
        assert len({exchange.path for exchange in faulty.seen("blobs", "GET")}) == 1  # the config
