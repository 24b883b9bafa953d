"""Artifacts of a real docker-registry as they are: the conformance suite, indexes, large manifests."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from modeldist.errors import OriginProtocolError
from modeldist.origins.router import Origins
from modeldist.origins.settings import HttpSettings, OriginSettings
from modelpack.build import build
from modelpack.layout import OciLayout
from modelpack.oci.client import RegistryClient
from modelpack.oci.credentials import FixedCredentials
from modelpack.oci.transfer import push
from modelpack.reference import Reference
from tests.servers.artifacts import indexed, raw, written
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry
from tests.unit.origins.conformance import FILES, OriginConformance, Place, ReadRange
from tests.unit.origins.conftest import read_range  # noqa: F401 - a fixture

QUICK = HttpSettings(retries=2, backoff=0.01)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(storage: Path) -> Iterator[Registry]:
    with Registry(storage) as made:
        yield made


@pytest.fixture
async def origins() -> AsyncIterator[Origins]:
    made = Origins(OriginSettings(http=QUICK, registry_credentials=FixedCredentials({})))
    yield made
    await made.close()


async def publish(registry: Registry, work: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    """What its manifest names, and the manifest, by path in a layout."""
    home = work / "files"
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    layout = OciLayout.create(work / "layout")
    build(home, layout, ref="v1")
    async with RegistryClient() as client:
        await push(layout, "v1", Reference.parse(f"{registry.host}/org/model:v1"), client)
    descriptor, manifest = layout.manifest("v1")
    blobs = (descriptor, manifest.config, *manifest.layers)
    return {f"blobs/{blob.digest.replace(':', '/')}": layout.blobs.read(blob) for blob in blobs}


class TestArtifactsAsTheyAre(OriginConformance):
    @pytest.fixture
    async def place(self, registry: Registry, storage: Path, tmp_path: Path, origins: Origins) -> AsyncIterator[Place]:
        contents = await publish(registry, tmp_path / "v1", FILES)

        def move() -> None:
            republish = publish(registry, tmp_path / "small", {"config.json": b"{}"})
            thread = threading.Thread(target=asyncio.run, args=(republish,))  # a loop is running in this one
            thread.start()
            thread.join()

        def spoil() -> None:
            weights = max(storage.rglob("data"), key=lambda path: path.stat().st_size)
            weights.write_bytes(bytes(weights.stat().st_size))

        reference = f"oci://{registry.host}/org/model"
        yield Place(origins, f"{reference}:v1", f"{reference}:v9", move=move, spoil=spoil, contents=contents)


async def test_the_model_of_an_index(origins: Origins) -> None:
    model = written("v1", [raw("model.gguf", b"weights")])
    image = written(
        "v1", [raw("bin", b"program")], artifactType=None, config_type="application/vnd.oci.image.config.v1+json"
    )
    index = indexed("v1", [(model, {}), (image, {"platform": {"os": "linux", "architecture": "amd64"}})])
    with FaultyRegistry() as registry:
        artifact = await origins.resolve(f"oci://{index.serve(registry)}")
    documents = {index.digest, model.digest}
    assert {file.digest for file in artifact.files} == documents | set(model.blobs)
    assert {file.digest for file in artifact.files if file.locator} == documents
    assert artifact.reference.endswith(index.digest)


async def test_a_large_manifest_is_read_in_ranges_though_registries_give_none(
    registry: Registry,
    origins: Origins,
    read_range: ReadRange,  # noqa: F811
) -> None:
    model = written("large", [raw("model.gguf", b"weights")], annotations={"about": os.urandom(200_000).hex()})
    content, reference = model.documents[-1].data, model.push(registry)
    registry.clear_log()
    reader = origins.reader(await origins.resolve(f"oci://{reference}"))
    half = len(content) // 2
    got = [read_range(reader, model.digest, start, len(content) - half) for start in (0, half)]  # type: ignore[arg-type]
    reader.close()
    assert len(content) > 300_000
    assert got[0][:half] + got[1] == content
    assert len([access for access in registry.access_log() if access.method == "GET"]) == 2  # resolved, and read


async def test_a_manifest_of_another_size_than_was_told(origins: Origins, read_range: ReadRange) -> None:  # noqa: F811
    model = written("v1", [raw("model.gguf", b"weights")])
    with FaultyRegistry() as registry:
        reference = Reference.parse(model.serve(registry)).with_digest(model.digest)
        artifact = origins.blobs().manifest(reference, 5)
        reader = origins.reader(artifact)
        with pytest.raises(OriginProtocolError, match="not 5"):
            await asyncio.to_thread(read_range, reader, artifact.shards[0].digest, 0, 5)
        reader.close()
