"""A layout to push, and clients for the real registry and the faulty one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor
from tests.servers.oci_faults import MODEL_CONFIG, MODEL_MANIFEST, OCI_MANIFEST, FaultyRegistry
from tests.servers.registry import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def faulty() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as running:
        yield running


@pytest.fixture
def files() -> dict[str, bytes]:
    """Contents of a model: a weight of several chunks, a small file, an empty one."""
    return {"model.safetensors": random.Random(7).randbytes(700_000), "config.json": b'{"a": 1}', "empty.txt": b""}


def layout_of(path: Path, files: dict[str, bytes], name: str = "v1") -> tuple[OciLayout, Descriptor]:
    """A layout with one ModelPack of raw layers, called `name`."""
    layout = OciLayout.create(path)
    layers = []
    for file, data in files.items():
        blob = layout.blobs.add(data, "application/vnd.cncf.model.weight.v1.raw")
        layers.append(
            {
                "mediaType": blob.media_type,
                "digest": blob.digest,
                "size": blob.size,
                "annotations": {"org.cncf.model.filepath": file, "org.opencontainers.image.title": file},
            }
        )
    config = {
        "descriptor": {"name": "m"},
        "config": {"format": "safetensors"},
        "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
    }
    blob = layout.blobs.add(json.dumps(config).encode(), MODEL_CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": MODEL_MANIFEST,
        "config": {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size},
        "layers": layers,
    }
    return layout, layout.add_manifest(json.dumps(manifest).encode(), name)
