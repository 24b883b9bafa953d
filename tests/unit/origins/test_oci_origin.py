"""Registries as origins, against one in memory that fails on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator

import pytest

from modeldist.artifact import Artifact
from modeldist.errors import (
    AccessDenied,
    AuthenticationRequired,
    IntegrityError,
    InvalidReference,
    ModeldistError,
    NotFound,
    OriginProtocolError,
    OriginUnavailable,
    RateLimited,
    UnsafeArtifact,
    Unsupported,
)
from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings
from modelpack.oci.credentials import Credential, FixedCredentials
from tests.servers import faults
from tests.servers.files import FaultyFiles
from tests.servers.loopback_http import Fault
from tests.servers.oci_faults import OCI_MANIFEST, FaultyRegistry
from tests.unit.origins.conformance import FILES, OriginConformance, Place, ReadRange
from tests.unit.origins.conftest import QUICK

BIG = FILES["sub/deep/model.safetensors"]


def origins_for(**more: object) -> Origins:
    return Origins(OriginSettings(http=QUICK, registry_credentials=FixedCredentials({}), **more))  # type: ignore[arg-type]


@pytest.fixture
async def origins() -> AsyncIterator[Origins]:
    made = origins_for()
    yield made
    await made.close()


@pytest.fixture
def registry() -> FaultyRegistry:
    with FaultyRegistry() as made:
        made.add_model("org/model", "v1", FILES)
        yield made  # type: ignore[misc]


class TestRegistryInMemory(OriginConformance):
    @pytest.fixture
    async def place(self, registry: FaultyRegistry, origins: Origins) -> Place:
        def move() -> None:
            registry.add_model("org/model", "v1", {**FILES, "config.json": b"{}"})

        return Place(
            origins,
            f"{registry.host}/org/model:v1",
            f"{registry.host}/org/model:v9",
            move=move,
            spoil=lambda: registry.inject(faults.Fault(flip_byte=0), on="blobs", method="GET"),
        )


def _largest(artifact: Artifact) -> tuple[str, int]:
    shard = max(artifact.shards, key=lambda shard: shard.size)
    return shard.digest, shard.size


async def test_names(registry: FaultyRegistry, origins: Origins) -> None:
    artifact = await origins.resolve(f"{registry.host}/org/model:v1")
    assert artifact.name == f"{registry.host}/org/model"
    assert artifact.tag == "v1"
    assert artifact.repo_id == f"127.0.0.1-{registry.port}.org/model"
    assert (artifact.endpoint, artifact.repository) == (registry.url, "org/model")
    assert {file.path: file.kind for file in artifact.files}["sub/deep/model.safetensors"] == "weight"
    pinned = await origins.resolve(artifact.reference)
    assert pinned.tag == "" and pinned.digest == artifact.digest
    assert origins.canonical("Org.example/a/b") == "org.example/a/b:latest"


async def test_the_default_registry_is_a_setting(registry: FaultyRegistry) -> None:
    origins = origins_for(default_registry=registry.host)
    assert (await origins.resolve("org/model:v1")).name == f"{registry.host}/org/model"
    await origins.close()
    assert Origins().canonical("ai/gemma") == "docker.io/ai/gemma:latest"


async def test_still_costs_one_head_for_tags_and_nothing_for_digests(
    registry: FaultyRegistry, origins: Origins
) -> None:
    artifact = await origins.resolve(f"{registry.host}/org/model:v1")
    before = len(registry.requests)
    assert await origins.still(artifact, artifact.reference)
    assert not await origins.still(artifact, f"{artifact.name}@sha256:{'0' * 64}")
    assert not await origins.still(artifact, f"{registry.host}/org/other:v1")
    assert len(registry.requests) == before
    assert await origins.still(artifact, f"{registry.host}/org/model:v1")
    assert [r.method for r in registry.requests[before:]] == ["HEAD"]


async def test_one_look_up_and_one_request_a_range(
    registry: FaultyRegistry, origins: Origins, read_range: ReadRange
) -> None:
    artifact = await origins.resolve(f"{registry.host}/org/model:v1")
    digest, _ = _largest(artifact)
    before = len(registry.requests)
    readers = [origins.reader(artifact) for _ in range(2)]
    for number in range(6):
        read_range(readers[number % 2], digest, number * 1000, 1000)  # type: ignore[arg-type]
    asked = [r.method for r in registry.requests[before:]]
    assert asked.count("GET") == 6 and asked.count("HEAD") == 1
    for reader in readers:
        reader.close()


async def test_blobs_behind_links_that_age(registry: FaultyRegistry, origins: Origins, read_range: ReadRange) -> None:
    artifact = await origins.resolve(f"{registry.host}/org/model:v1")
    digest, _ = _largest(artifact)
    with FaultyFiles({"bucket/blob": BIG}) as store:
        link = f"{store.url}/bucket/blob?X-Amz-Signature=1"
        registry.inject(faults.Fault(answer=faults.Answer(307, (("Location", link),))), on=digest)
        reader = origins.reader(artifact)
        assert read_range(reader, digest, 5, 10) == BIG[5:15]  # type: ignore[arg-type]
        looked_up = len(registry.requests)
        store.fail(Fault(status=403))
        assert read_range(reader, digest, 15, 10) == BIG[15:25]  # type: ignore[arg-type]
        assert len(registry.requests) > looked_up
        store.fail(Fault(status=403, times=9))
        with pytest.raises(AccessDenied):
            read_range(reader, digest, 25, 10)  # type: ignore[arg-type]
        assert len(store.asked("blob")) == 3 + 2  # located again once, then an error
        reader.close()


async def test_credentials_are_used_and_their_lack_explained(read_range: ReadRange) -> None:
    with FaultyRegistry(challenge='Basic realm="x"', accepts=("Basic YTpi",)) as registry:  # a:b
        registry.add_model("org/model", "v1", FILES)
        reference = f"{registry.host}/org/model:v1"
        stranger = origins_for()
        with pytest.raises(AuthenticationRequired) as caught:
            await stranger.resolve(reference)
        assert f"modeldist login {registry.host}" in caught.value.remedy
        await stranger.close()
        known = Origins(
            OriginSettings(http=QUICK, registry_credentials=FixedCredentials({registry.host: Credential("a", "b")}))
        )
        artifact = await known.resolve(reference)
        digest, size = _largest(artifact)
        reader = known.reader(artifact)
        assert read_range(reader, digest, 0, size) == BIG  # type: ignore[arg-type]
        reader.close()
        await known.close()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.status(403, "DENIED"), AccessDenied),
        (faults.status(404, "NAME_UNKNOWN"), NotFound),
        (faults.status(429, "TOOMANYREQUESTS", retry_after="3600"), RateLimited),
        (faults.status(503), OriginUnavailable),
        (faults.Fault(flip_byte=0), IntegrityError),
    ],
)
async def test_refusals_of_a_manifest(
    registry: FaultyRegistry, origins: Origins, fault: faults.Fault, error: type[ModeldistError]
) -> None:
    registry.inject(fault, on="manifests")
    with pytest.raises(error, match="org/model") as caught:
        await origins.resolve(f"{registry.host}/org/model:v1")
    assert caught.value.remedy
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after == 3600


async def test_a_registry_that_goes_away_between_manifest_and_blob(
    registry: FaultyRegistry, origins: Origins, read_range: ReadRange
) -> None:
    artifact = await origins.resolve(f"{registry.host}/org/model:v1")
    registry.die()
    reader = origins.reader(artifact)
    with pytest.raises(OriginUnavailable):
        read_range(reader, _largest(artifact)[0], 0, 10)  # type: ignore[arg-type]
    reader.close()


async def test_a_blob_the_registry_lost(registry: FaultyRegistry, origins: Origins, read_range: ReadRange) -> None:
    artifact = await origins.resolve(f"{registry.host}/org/model:v1")
    digest, _ = _largest(artifact)
    del registry.blobs[digest]
    registry.repositories["org/model"].discard(digest)
    with pytest.raises(NotFound, match=r"model\.safetensors"):
        read_range(origins.reader(artifact), digest, 0, 10)  # type: ignore[arg-type]


def _manifest(registry: FaultyRegistry, layers: list[dict[str, object]], **more: object) -> bytes:
    config = b'{"descriptor":{},"config":{},"modelfs":{"type":"layers","diffIds":["sha256:' + b"0" * 64 + b'"]}}'
    digest = registry.add_blob("org/model", config)
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": {"mediaType": "application/vnd.cncf.model.config.v1+json", "digest": digest, "size": len(config)},
        "layers": layers,
    }
    return json.dumps({**document, **more}).encode()


def _layer(path: str, digest: str = "sha256:" + "0" * 64, size: int = 1) -> dict[str, object]:
    return {
        "mediaType": "application/vnd.cncf.model.weight.v1.raw",
        "digest": digest,
        "size": size,
        "annotations": {"org.cncf.model.filepath": path},
    }


@pytest.mark.parametrize(
    ("layers", "error"),
    [
        ([_layer("../../etc/passwd")], UnsafeArtifact),
        ([_layer("/etc/passwd")], UnsafeArtifact),
        ([_layer("a"), _layer("a", "sha256:" + "1" * 64)], UnsafeArtifact),
        ([_layer("a", size=-1)], OriginProtocolError),
        ([_layer("a", "sha512:" + "0" * 128)], Unsupported),
        ([], Unsupported),
    ],
)
async def test_hostile_and_unreadable_manifests(
    registry: FaultyRegistry, origins: Origins, layers: list[dict[str, object]], error: type[ModeldistError]
) -> None:
    registry.add_manifest("org/model", "bad", _manifest(registry, layers))
    with pytest.raises(error) as caught:
        await origins.resolve(f"{registry.host}/org/model:bad")
    assert caught.value.message


async def test_deviations_become_warnings(registry: FaultyRegistry, origins: Origins) -> None:
    digest = registry.add_blob("org/model", b"x")
    registry.add_manifest("org/model", "odd", _manifest(registry, [_layer("a.bin", digest)]))
    artifact = await origins.resolve(f"{registry.host}/org/model:odd")
    assert artifact.warnings  # the diffId is not the layer's


async def test_an_index_is_seen_through(registry: FaultyRegistry, origins: Origins) -> None:
    model = registry.add_model("org/model", "v1", FILES)
    raw = registry.manifests["org/model", model][0]
    entry = {"mediaType": OCI_MANIFEST, "digest": model, "size": len(raw)}
    index_type = "application/vnd.oci.image.index.v1+json"
    for level in range(5):
        index = json.dumps({"schemaVersion": 2, "mediaType": index_type, "manifests": [entry]}).encode()
        digest = registry.add_manifest("org/model", f"level{level}", index, index_type)
        entry = {"mediaType": index_type, "digest": digest, "size": len(index)}
    artifact = await origins.resolve(f"{registry.host}/org/model:level0")
    assert artifact.digest == registry_digest(registry, "level0")
    assert {file.path for file in artifact.files} == set(FILES)
    assert await origins.still(artifact, f"{registry.host}/org/model:level0")
    with pytest.raises((OriginProtocolError, Unsupported)):
        await origins.resolve(f"{registry.host}/org/model:level4")


def registry_digest(registry: FaultyRegistry, tag: str) -> str:
    import hashlib

    return "sha256:" + hashlib.sha256(registry.manifests["org/model", tag][0]).hexdigest()


@pytest.mark.parametrize("reference", ["", "UPPER/Case Bad", "org/model:", "org/model@sha256:1", "a//b"])
def test_malformed_registry_references(reference: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Origins().canonical(reference)
    assert caught.value.remedy


async def test_closing_leaves_no_thread_and_may_be_repeated(registry: FaultyRegistry, origins: Origins) -> None:
    def of_registries() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "modeldist-registries"]

    origins.canonical("org/model")
    assert not of_registries()
    await origins.resolve(f"{registry.host}/org/model:v1")
    assert of_registries()
    await origins.close()
    assert not of_registries()
    await origins.close()
