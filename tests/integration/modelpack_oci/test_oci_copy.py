"""Copies between two of Debian's docker-registry, and between registries and layouts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack.errors import DigestMismatch, UnsupportedArtifact
from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor
from modelpack.oci import (
    LayoutSource,
    LayoutTarget,
    Progress,
    RegistryClient,
    RegistrySource,
    RegistryTarget,
    copy_artifact,
    push,
)
from modelpack.oci.copy import for_platform, the_model
from modelpack.oci.upload_records import upload_record
from modelpack.reference import Reference
from modelpack.referrers import attachment
from tests.integration.modelpack_oci.conftest import layout_of
from tests.servers.registry import Registry

SIGNATURE = "application/vnd.dev.sigstore.bundle.v0.3+json"


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "second") as running:
        yield running


def at(registry: Registry, tag: str = "v1", repository: str = "org/model") -> Reference:
    return Reference(registry.host, repository, tag)


def reads(registry: Registry) -> dict[str, int]:
    """How often each blob was read."""
    found: dict[str, int] = {}
    for access in registry.access_log():
        if access.method == "GET" and access.blob:
            found[access.blob] = found.get(access.blob, 0) + 1
    return found


async def pushed(layout: OciLayout, registry: Registry, client: RegistryClient) -> None:
    await push(layout, "v1", at(registry), client)
    registry.clear_log()


async def test_each_blob_is_moved_once_and_the_digest_stays(
    registry: Registry, second: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, model = layout_of(tmp_path / "out", files)
    _, manifest = layout.manifest("v1")
    blobs = {blob.digest: blob.size for blob in (manifest.config, *manifest.layers)}
    async with RegistryClient(chunk=200_000) as client:
        await pushed(layout, registry, client)
        steps: list[Progress] = []
        report = await copy_artifact(
            RegistrySource(client, at(registry)), RegistryTarget(client, at(second, "v2")), steps.append
        )
        assert report.digest == model.digest
        assert (await client.get_manifest(at(second, "v2"))).raw == layout.blobs.read(model)
        assert {step.how for step in steps} == {"moved"}
        for digest, size in blobs.items():
            assert sum(step.done for step in steps if step.descriptor.digest == digest) == size
        assert set(reads(registry).values()) == {1}
        assert registry.blob_bytes() == sum(blobs.values())
        # once more: nothing moves
        registry.clear_log()
        steps.clear()
        await copy_artifact(RegistrySource(client, at(registry)), RegistryTarget(client, at(second)), steps.append)
        assert {step.how for step in steps} == {"present"}
        assert registry.blob_bytes() == 0


async def test_within_one_registry_and_from_a_named_repository_blobs_are_mounted(
    registry: Registry, second: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, _ = layout_of(tmp_path / "out", files)
    async with RegistryClient() as client:
        await pushed(layout, registry, client)
        steps: list[Progress] = []
        inside = RegistryTarget(client, at(registry, "v1", "other/model"))
        await copy_artifact(RegistrySource(client, at(registry)), inside, steps.append)
        assert {step.how for step in steps} == {"mounted"}
        assert registry.blob_bytes() == 0
        await push(layout, "v1", at(second, "v1", "has/it"), client)
        steps.clear()
        named = RegistryTarget(client, at(second), ("has/it",))
        await copy_artifact(RegistrySource(client, at(registry)), named, steps.append)
        assert {step.how for step in steps} == {"mounted"}
        assert registry.blob_bytes() == 0


async def test_an_index_is_copied_with_all_it_leads_to_or_one_of_it(
    registry: Registry, second: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, model = layout_of(tmp_path / "out", files, "model")
    _, image = layout_of(tmp_path / "out", {"config.json": b"{}"}, "image")
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": model.media_type,
                "artifactType": "application/vnd.cncf.model.manifest.v1+json",
                "digest": model.digest,
                "size": model.size,
            },
            {
                "mediaType": image.media_type,
                "digest": image.digest,
                "size": image.size,
                "platform": {"os": "linux", "architecture": "arm64"},
            },
        ],
    }
    raw = json.dumps(index).encode()
    top = layout.add_manifest(raw, "v1")
    async with RegistryClient() as client:
        await pushed(layout, registry, client)
        source = RegistrySource(client, at(registry))
        report = await copy_artifact(source, RegistryTarget(client, at(second)))
        assert (report.digest, report.manifests) == (top.digest, 3)
        assert (await client.get_manifest(at(second))).raw == raw
        for digest in (model.digest, image.digest):
            await client.get_manifest(at(second).with_digest(digest))
        for chosen, select in ((model, the_model), (image, for_platform("linux/arm64"))):
            one = at(second, "one", "org/one")
            assert (await copy_artifact(source, RegistryTarget(client, one), select=select)).digest == chosen.digest
        with pytest.raises(UnsupportedArtifact, match="linux/s390x"):
            await copy_artifact(source, RegistryTarget(client, one), select=for_platform("linux/s390x"))


async def test_signatures_and_what_refers_to_them_go_along(
    registry: Registry, second: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, model = layout_of(tmp_path / "out", files)
    async with RegistryClient() as client:
        await pushed(layout, registry, client)
        signature = attachment(model, SIGNATURE, b"signed")
        await client.attach(at(registry), signature)
        about = Descriptor(media_type=model.media_type, digest=signature.digest, size=len(signature.raw))
        second_signature = attachment(about, SIGNATURE, b"a signature's signature")
        await client.attach(at(registry), second_signature)
        cosign = at(registry, f"{model.digest.replace(':', '-')}.sig")
        _, old = layout_of(tmp_path / "sig", {"payload": b"simple signing"})
        await push(OciLayout.open(tmp_path / "sig"), "v1", cosign, client)

        report = await copy_artifact(RegistrySource(client, at(registry)), RegistryTarget(client, at(second)))
        assert (report.referrers, report.tags) == (2, 1)
        (found,) = await client.referrers(at(second).with_digest(model.digest))
        assert found.digest == signature.digest
        assert (await client.get_manifest(at(second).with_digest(signature.digest))).raw == signature.raw
        (inner,) = await client.referrers(at(second).with_digest(signature.digest))
        assert inner.digest == second_signature.digest
        assert (await client.head_manifest(at(second).with_tag(cosign.tag or ""))).digest == old.digest

        # and through a layout, which keeps them too
        middle = OciLayout.create(tmp_path / "middle")
        await copy_artifact(RegistrySource(client, at(registry)), LayoutTarget(middle, "v1"))
        middle.verify()
        third = at(second, "v1", "org/third")
        report = await copy_artifact(LayoutSource(middle, "v1"), RegistryTarget(client, third))
        assert report.digest == model.digest
        assert (report.referrers, report.tags) == (2, 1)
        assert len(await client.referrers(third.with_digest(model.digest))) == 1

        bare = at(second, "v1", "org/bare")
        await copy_artifact(RegistrySource(client, at(registry)), RegistryTarget(client, bare), referrers=False)
        assert await client.referrers(bare.with_digest(model.digest)) == ()


async def test_a_damaged_source_is_refused_before_the_tag_moves(
    registry: Registry, second: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, _ = layout_of(tmp_path / "out", files)
    weight = max(layout.manifest("v1")[1].layers, key=lambda layer: layer.size).digest
    async with RegistryClient(chunk=200_000) as client:
        await pushed(layout, registry, client)
        store = tmp_path / "registry" / "storage"
        (data,) = store.glob(f"docker/registry/v2/blobs/sha256/*/{weight.partition(':')[2]}/data")
        content = bytearray(data.read_bytes())
        content[500_000] ^= 1
        data.write_bytes(content)
        with pytest.raises(DigestMismatch, match=weight):
            await copy_artifact(RegistrySource(client, at(registry)), RegistryTarget(client, at(second)))
        assert not await client.has_blob(at(second), weight)
    assert not any(access.method == "PUT" and "/manifests/" in access.path for access in second.access_log())


async def test_a_pinned_target_takes_nothing_else(
    registry: Registry, second: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, _ = layout_of(tmp_path / "out", files)
    async with RegistryClient() as client:
        await pushed(layout, registry, client)
        with pytest.raises(DigestMismatch, match="pinned"):
            await copy_artifact(
                RegistrySource(client, at(registry)), RegistryTarget(client, at(second)), expect="sha256:" + "0" * 64
            )
    assert registry.blob_bytes() == 0


async def test_a_session_that_the_target_has_lost_is_begun_anew(
    registry: Registry, second: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, model = layout_of(tmp_path / "out", files)
    weight = max(layout.manifest("v1")[1].layers, key=lambda layer: layer.size)
    records = tmp_path / "records"
    async with RegistryClient(chunk=200_000) as client:
        await pushed(layout, registry, client)
        async with upload_record(records, at(second), weight.digest, asyncio.Event()) as record:
            record.keep(
                f"http://{second.host}/v2/org/model/blobs/uploads/00000000-0000-0000-0000-000000000000?_state=x"
            )
        steps: list[Progress] = []
        target = RegistryTarget(client, at(second), records=records)
        report = await copy_artifact(RegistrySource(client, at(registry)), target, steps.append)
    assert report.digest == model.digest
    assert sum(step.done for step in steps if step.descriptor.digest == weight.digest) == weight.size
    assert not list(records.iterdir())


async def test_what_refers_to_another_manifest_does_so_at_the_target(
    registry: Registry, second: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, model = layout_of(tmp_path / "out", files)
    async with RegistryClient() as client:
        await pushed(layout, registry, client)
        signature = attachment(model, SIGNATURE, b"signed")
        await client.attach(at(registry), signature)
        alone = at(registry).with_digest(signature.digest)
        target = Reference(second.host, "org/model", digest=signature.digest)
        await copy_artifact(RegistrySource(client, alone), RegistryTarget(client, target))
        (found,) = await client.referrers(at(second).with_digest(model.digest))
        assert found.digest == signature.digest
