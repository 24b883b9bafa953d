"""Tags and referrers, by pages and from registries that answer something else."""

from __future__ import annotations

import json

import pytest

from modelpack.errors import (
    RegistryProtocolError,
)
from modelpack.oci import RegistryClient
from tests.integration.modelpack_oci.conftest import digest_of, reference
from tests.servers import faults
from tests.servers.oci_faults import OCI_MANIFEST, FaultyRegistry


async def test_tags_by_pages(faulty: FaultyRegistry, client: RegistryClient) -> None:
    for number in range(2500):
        faulty.manifests["org/model", f"t{number:04}"] = (b"{}", OCI_MANIFEST)
    faulty.repositories["org/model"] = set()
    assert await client.list_tags(reference(faulty)) == [f"t{number:04}" for number in range(2500)]
    assert len(faulty.seen("tags")) == 3


@pytest.mark.parametrize("link", ["</v2/org/model/tags/list?n=1000>; rel=next", '<http://store.example/>; rel="next"'])
async def test_pages_that_lead_astray(link: str, faulty: FaultyRegistry, client: RegistryClient) -> None:
    faulty.repositories["org/model"] = set()
    faulty.inject(faults.Fault(headers=(("Link", link),)))
    with pytest.raises(RegistryProtocolError, match="goes on where it must not"):
        await client.list_tags(reference(faulty))


@pytest.mark.parametrize("link", ["http://[", "http://xn--/", "http://a:b/", "http://\u00b2:99999999/"])
async def test_pages_at_no_address(link: str, faulty: FaultyRegistry, client: RegistryClient) -> None:
    faulty.repositories["org/model"] = set()
    faulty.inject(faults.Fault(headers=(("Link", f"<{link}>; rel=next"),)))
    with pytest.raises(RegistryProtocolError, match="goes on"):
        await client.list_tags(reference(faulty))


async def test_links_without_end(faulty: FaultyRegistry, client: RegistryClient) -> None:
    """Looking for the next page in them takes no longer than in others."""
    faulty.repositories["org/model"] = set()
    faulty.inject(faults.Fault(headers=(("Link", "<>;" * 20_000),)))
    assert await client.list_tags(reference(faulty)) == []


async def test_listings_that_are_none(faulty: FaultyRegistry, client: RegistryClient) -> None:
    subject = "sha256:" + "1" * 64
    ref = reference(faulty).with_digest(subject)
    deep = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for body in (deep, b'{"tags":["\xff"]}', b"<html>"):
        faulty.heal()
        faulty.inject(faults.Fault(answer=faults.Answer(200, (), body)))
        with pytest.raises(RegistryProtocolError, match="is no list of tags"):
            await client.list_tags(ref)
    with pytest.raises(RegistryProtocolError, match="is no index"):
        await client.referrers(ref)
    faulty.heal()
    manifest, _ = layout_manifest()
    faulty.inject(faults.Fault(answer=faults.Answer(200, (), manifest)))
    with pytest.raises(RegistryProtocolError, match="is a manifest, not an index"):
        await client.referrers(ref)


def layout_manifest(**more: object) -> tuple[bytes, str]:
    config = {"mediaType": "a/b", "digest": digest_of(b"{}"), "size": 2}
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [], **more}).encode()
    return raw, digest_of(raw)


async def test_referrers_by_the_api(client: RegistryClient) -> None:
    with FaultyRegistry(referrers=True) as faulty:
        raw, digest = layout_manifest()
        faulty.add_manifest("org/model", "v1", raw)
        subject = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(raw)}
        signature, signed = layout_manifest(subject=subject, artifactType="text/signature")
        faulty.add_manifest("org/model", None, signature)
        assert [entry.digest for entry in await client.referrers(reference(faulty))] == [signed]
        assert await client.referrers(reference(faulty), "text/other") == ()


async def test_pages_without_end(
    faulty: FaultyRegistry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelpack.oci.catalogue._MAX_PAGES", 2)
    faulty.manifests |= {("org/model", f"t{number:04}"): (b"{}", "a/b") for number in range(2500)}
    faulty.repositories["org/model"] = set()
    with pytest.raises(RegistryProtocolError, match="has more than 2 pages"):
        await client.list_tags(reference(faulty))
