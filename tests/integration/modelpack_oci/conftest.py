"""A layout to push, and clients for the real registry and the faulty one."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor
from modelpack.oci import RegistryClient, RetryPolicy
from modelpack.reference import Reference
from tests.servers.oci_faults import MODEL_CONFIG, MODEL_MANIFEST, OCI_MANIFEST, FaultyRegistry


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


DATA = bytes(range(256)) * 2000


class Sleeps(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


@pytest.fixture
async def client(sleeps: Sleeps) -> AsyncIterator[RegistryClient]:
    async with RegistryClient(retry=RetryPolicy(attempts=3, sleep=sleeps), chunk=100_000) as made:
        yield made


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def reference(faulty: FaultyRegistry, tag: str = "v1", repository: str = "org/model") -> Reference:
    return Reference(faulty.host, repository, tag)


async def read(client: RegistryClient, ref: Reference, digest: str, *args: int, size: int | None = None) -> bytes:
    async with aclosing(client.stream_blob(ref, digest, *args, size=size)) as pieces:
        return b"".join([piece async for piece in pieces])
