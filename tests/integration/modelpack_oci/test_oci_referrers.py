"""What refers to a manifest (chunk tables, signatures): attached, found, and carried along wherever the model goes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from modelpack.chunk_table import (
    CHUNK_TABLE_TYPE,
    MIN_CHUNK,
    BlobChunks,
    ChunkTable,
    chunk_digests,
    encode_table,
    parse_table,
)
from modelpack.errors import InvalidManifest
from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor
from modelpack.oci import RegistryClient, pull_layout, push
from modelpack.reference import Reference
from modelpack.referrers import SIGSTORE_BUNDLE, attachment, fallback_tag
from tests.integration.modelpack_oci.conftest import layout_of
from tests.servers.oci_faults import OCI_MANIFEST, FaultyRegistry
from tests.servers.registry import Registry


def table_of(files: dict[str, bytes], layout: OciLayout, model: Descriptor) -> bytes:
    layers = layout.manifest(model.digest)[1].layers
    by_size = {len(data): data for data in files.values()}
    blobs = (
        BlobChunks(layer.digest, layer.size, MIN_CHUNK, chunk_digests(by_size[layer.size], MIN_CHUNK))
        for layer in layers
    )
    return encode_table(ChunkTable(tuple(blobs)))


async def test_an_attached_table_is_found_where_there_is_no_referrers_api(
    registry: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, model = layout_of(tmp_path / "out", files)
    ref = Reference(registry.host, "org/model", "v1")
    table = attachment(model, CHUNK_TABLE_TYPE, table_of(files, layout, model))
    other = attachment(model, "text/other", b"else")
    async with RegistryClient() as client:
        await push(layout, "v1", ref, client)
        assert await client.attach(ref, table) == table.digest
        assert await client.attach(ref, other) == other.digest
        await client.attach(ref, table)  # again: the list stays as it is
        found = await client.referrers(ref)
        assert [entry.digest for entry in found] == [table.digest, other.digest]
        (entry,) = await client.referrers(ref, CHUNK_TABLE_TYPE)
        raw = (await client.get_manifest(ref.with_digest(entry.digest))).raw
        layer = json.loads(raw)["layers"][0]
        blob = Descriptor(media_type=layer["mediaType"], digest=layer["digest"], size=layer["size"])
        assert parse_table(await client.get_blob(ref, blob, 1 << 20)).of(layout.manifest("v1")[1].layers[0].digest)
        assert fallback_tag(model.digest) in await client.list_tags(ref)


async def test_several_who_attach_at_once_lose_nothing(
    registry: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, model = layout_of(tmp_path / "out", files)
    ref = Reference(registry.host, "org/model", "v1")
    whats = [attachment(model, "text/note", b"%d" % number) for number in range(3)]
    async with RegistryClient() as client:
        await push(layout, "v1", ref, client)
        await asyncio.gather(*(client.attach(ref, what) for what in whats))
        assert {entry.digest for entry in await client.referrers(ref)} == {what.digest for what in whats}


async def test_a_registry_that_keeps_account_of_referrers_gets_no_fallback_tag(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, model = layout_of(tmp_path / "out", files)
    table = attachment(model, CHUNK_TABLE_TYPE, table_of(files, layout, model))
    with FaultyRegistry(referrers=True) as modern:
        ref = Reference(modern.host, "org/model", "v1")
        async with RegistryClient() as client:
            await push(layout, "v1", ref, client)
            await client.attach(ref, table)
            assert [entry.digest for entry in await client.referrers(ref, CHUNK_TABLE_TYPE)] == [table.digest]
            assert await client.list_tags(ref) == ["v1"]


async def test_a_manifest_without_subject_refers_to_nothing(registry: Registry, tmp_path: Path) -> None:
    layout, model = layout_of(tmp_path / "out", {"a": b"a"})
    async with RegistryClient() as client:
        with pytest.raises(InvalidManifest, match="without a subject"):
            await client.put_referrer(Reference(registry.host, "org/m"), layout.blobs.read(model), OCI_MANIFEST)


async def test_a_table_and_its_signature_go_where_the_model_goes(
    registry: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, model = layout_of(tmp_path / "out", files)
    table = layout.add_referrer(attachment(model, CHUNK_TABLE_TYPE, table_of(files, layout, model)))
    signature = layout.add_referrer(attachment(table, SIGSTORE_BUNDLE, b"{}"))
    layout.add_referrer(attachment(model, "text/other", b"else"))
    assert layout.resolve().digest == model.digest  # one model, whatever refers to it
    ref = Reference(registry.host, "org/model", "v1")
    async with RegistryClient() as client:
        await push(layout, "v1", ref, client)
        pulled = OciLayout.create(tmp_path / "in")
        await pull_layout(ref, pulled, client)
        bare = OciLayout.create(tmp_path / "bare")
        await pull_layout(ref, bare, client, proofs=())
    assert [entry.digest for entry in pulled.referrers(model.digest)] == [table.digest]
    assert [entry.digest for entry in pulled.referrers(table.digest, SIGSTORE_BUNDLE)] == [signature.digest]
    pulled.verify()
    assert bare.referrers(model.digest) == ()
    pulled.discard("v1")
    assert pulled.index().manifests == ()
    assert not list((tmp_path / "in" / "blobs" / "sha256").iterdir())


async def test_a_listed_referrer_that_is_gone_does_not_stop_the_model(files: dict[str, bytes], tmp_path: Path) -> None:
    layout, model = layout_of(tmp_path / "out", files)
    table = attachment(model, CHUNK_TABLE_TYPE, table_of(files, layout, model))
    with FaultyRegistry() as faulty:
        ref = Reference(faulty.host, "org/model", "v1")
        async with RegistryClient() as client:
            await push(layout, "v1", ref, client)
            await client.attach(ref, table)
            del faulty.manifests["org/model", table.digest]
            pulled = OciLayout.create(tmp_path / "in")
            await pull_layout(ref, pulled, client)
    assert pulled.referrers(model.digest) == ()
    pulled.verify()
