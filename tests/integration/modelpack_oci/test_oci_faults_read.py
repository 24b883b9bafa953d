"""Reading from a registry that fails: every fault is survived or becomes a sentence that names the thing."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from modelpack.errors import (
    DigestMismatch,
    InvalidReference,
    RegistryForbidden,
    RegistryNotFound,
    RegistryProtocolError,
    RegistryRateLimited,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from modelpack.manifest import Descriptor
from modelpack.oci import Credential, FixedCredentials, RegistryClient, RetryPolicy
from modelpack.reference import Reference
from tests.integration.modelpack_oci.conftest import DATA, Sleeps, digest_of, read, reference
from tests.servers import faults
from tests.servers.oci_faults import OCI_MANIFEST, FaultyRegistry


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (faults.unauthorized(), RegistryUnauthorized, "asks for credentials for .*Log in to"),
        (faults.unauthorized("Negotiate"), RegistryUnauthorized, "Log in to"),
        (faults.forbidden(), RegistryForbidden, "denies access to .*It said: denied"),
        (
            faults.status(404, "MANIFEST_UNKNOWN"),
            RegistryNotFound,
            "has no tag v1 in the repository org/model. Check the tag",
        ),
        (faults.status(404), RegistryNotFound, "has no tag v1 .* Check the repository's name and version"),
        (faults.status(404, "NAME_UNKNOWN"), RegistryNotFound, "has no repository org/model"),
        (faults.rate_limited("7"), RegistryRateLimited, "Wait for 7 seconds"),
        (faults.rate_limited(None), RegistryRateLimited, "Wait and try again"),
        (faults.unavailable(500), RegistryUnavailable, "answers 500 for"),
        (faults.unavailable(504), RegistryUnavailable, "answers 504 for"),
        (faults.status(418), RegistryProtocolError, "answers 418 for"),
        (faults.truncated(5, times=None), RegistryProtocolError, "broke off in the middle"),
        (faults.wrong_length(10), RegistryProtocolError, "broke off in the middle"),
        (faults.corrupted(), DigestMismatch, "promised was sha256:"),
        (faults.redirect_loop(), RegistryProtocolError, "redirects in a loop"),
    ],
)
async def test_manifests(
    fault: faults.Fault, error: type[Exception], says: str, faulty: FaultyRegistry, client: RegistryClient
) -> None:
    faulty.add_model("org/model", "v1", {"a": b"x"})
    faulty.inject(fault, on="manifests")
    with pytest.raises(error, match=says) as caught:
        await client.get_manifest(reference(faulty))
    assert faulty.host in str(caught.value)
    assert "org/model" in str(caught.value)


async def test_retry_after_is_honoured(faulty: FaultyRegistry, client: RegistryClient, sleeps: Sleeps) -> None:
    digest = faulty.add_model("org/model", "v1", {"a": b"x"})
    faulty.inject(faults.rate_limited("3", times=1))
    faulty.inject(faults.unavailable(times=1))
    assert (await client.get_manifest(reference(faulty))).digest == digest
    assert sleeps[0] >= 3
    faulty.inject(faults.rate_limited("4000"))
    with pytest.raises(RegistryRateLimited) as caught:
        await client.head_manifest(reference(faulty))
    assert caught.value.retry_after == 4000
    assert len(sleeps) == 2


async def test_names_that_do_not_resolve(client: RegistryClient) -> None:
    with pytest.raises(RegistryUnavailable, match=r"registry.invalid cannot be reached for registry.invalid/a:b"):
        await client.get_manifest(Reference("registry.invalid", "a", "b"))


async def test_a_registry_that_never_answers(faulty: FaultyRegistry) -> None:
    hold = faults.Hold()
    faulty.add_model("org/model", "v1", {"a": b"x"})
    faulty.inject(faults.held(hold))
    async with RegistryClient(retry=RetryPolicy(attempts=1), timeout=httpx2.Timeout(0.2)) as client:
        with pytest.raises(RegistryUnavailable, match="did not answer in time"):
            await client.get_manifest(reference(faulty))


async def test_odd_content_types(faulty: FaultyRegistry, client: RegistryClient) -> None:
    index = b'{"schemaVersion":2,"manifests":[]}'
    faulty.add_model("org/model", "v1", {"a": b"x"})
    faulty.add_manifest("org/model", "index", index)
    faulty.add_manifest("org/model", "bare", b'{"schemaVersion":2,"layers":[]}')
    faulty.add_manifest("org/model", "page", b"<html>", "text/html")
    faulty.inject(faults.relabelled("text/plain; charset=utf-8"))
    assert (await client.get_manifest(reference(faulty))).media_type == OCI_MANIFEST
    assert (await client.head_manifest(reference(faulty))).media_type == OCI_MANIFEST
    assert (await client.get_manifest(reference(faulty, "bare"))).media_type == OCI_MANIFEST
    assert (await client.get_manifest(reference(faulty, "index"))).media_type.endswith("image.index.v1+json")
    with pytest.raises(RegistryProtocolError, match=r"answers with text/plain for .* which is no manifest"):
        await client.get_manifest(reference(faulty, "page"))


async def test_manifests_are_checked(faulty: FaultyRegistry, client: RegistryClient) -> None:
    raw = b'{"schemaVersion":2,"layers":[]}'
    digest = faulty.add_manifest("org/model", "v1", raw)
    assert (await client.get_manifest(reference(faulty).with_digest(digest))).raw == raw
    other = "sha256:" + "1" * 64
    faulty.manifests["org/model", other] = (raw, OCI_MANIFEST)
    for ask in (client.get_manifest, client.head_manifest):
        with pytest.raises(DigestMismatch, match=f"promised was {other}"):
            await ask(reference(faulty).with_digest(other))
    faulty.add_manifest("org/model", "big", b" " * (4 * 1024 * 1024 + 1))
    with pytest.raises(RegistryProtocolError, match="more than 4194304 bytes"):
        await client.get_manifest(reference(faulty, "big"))
    faulty.inject(faults.Fault(headers=(("Docker-Content-Digest", other),)), method="PUT")
    with pytest.raises(DigestMismatch, match=other):
        await client.put_manifest(reference(faulty, "v2"), raw, OCI_MANIFEST)


async def test_a_broken_blob_is_resumed_where_it_broke(faulty: FaultyRegistry, client: RegistryClient) -> None:
    digest = faulty.add_blob("org/model", DATA)
    faulty.inject(faults.truncated(1000, times=4), on="blobs")  # more often than attempts: progress counts
    assert await read(client, reference(faulty), digest) == DATA
    ranges = [exchange.range for exchange in faulty.seen("blobs")]
    end = len(DATA) - 1
    assert ranges == ["", *(f"bytes={n * 1000}-{end}" for n in range(1, 5))]
    assert faulty.blob_bytes() == len(DATA)


async def test_a_registry_without_ranges(faulty: FaultyRegistry, client: RegistryClient) -> None:
    digest = digest_of(DATA)
    whole = faults.Answer(200, (), DATA)
    faulty.inject(faults.Fault(answer=whole, truncate_at=70_000, times=1), on="blobs")
    faulty.inject(faults.Fault(answer=whole), on="blobs")
    assert await read(client, reference(faulty), digest, 50_000, 100_000) == DATA[50_000:150_000]


@pytest.mark.parametrize("value", ["bytes 7-9/512000", "", "bytes 5-9/77"])
async def test_an_answer_with_another_range(value: str, faulty: FaultyRegistry, client: RegistryClient) -> None:
    digest = faulty.add_blob("org/model", DATA)
    faulty.inject(faults.Fault(headers=(("Content-Range", value),)))
    with pytest.raises(RegistryProtocolError, match=r"another range|answers with 77 bytes .* has 512000"):
        await read(client, reference(faulty), digest, 5, 5, size=len(DATA))


async def test_blobs_that_lie(faulty: FaultyRegistry, client: RegistryClient) -> None:
    digest = faulty.add_blob("org/model", DATA)
    blob = Descriptor(media_type="a/b", digest=digest, size=len(DATA))
    faulty.inject(faults.wrong_length(5))
    with pytest.raises(RegistryProtocolError, match=r"answers with 512005 bytes .* which has 512000"):
        await client.get_blob(reference(faulty), blob, 10**6)
    with pytest.raises(RegistryProtocolError, match="no byte 512000 of blob"):
        await read(client, reference(faulty), digest)
    faulty.heal()
    faulty.inject(faults.corrupted(99_999))
    with pytest.raises(DigestMismatch, match=f"{digest} of .*org/model has the digest"):
        await client.get_blob(reference(faulty), blob, 10**6)
    with pytest.raises(DigestMismatch, match="cannot be verified"):
        await client.get_blob(reference(faulty), Descriptor(media_type="a/b", digest="md5:1", size=1), 10**6)


async def test_a_body_without_a_length_that_ends_early(faulty: FaultyRegistry, client: RegistryClient) -> None:
    chunked = (("Transfer-Encoding", "chunked"),)
    faulty.inject(faults.Fault(answer=faults.Answer(200, chunked, b"5\r\nhello\r\n0\r\n\r\n")))
    digest = digest_of(b"hello")
    assert await read(client, reference(faulty), digest) == b"hello"
    with pytest.raises(RegistryProtocolError, match="ended 2 bytes early"):
        await read(client, reference(faulty), digest, size=7)


async def test_a_redirect_drops_credentials_and_keeps_the_range(tmp_path: Path) -> None:
    digest = digest_of(DATA)
    login = FixedCredentials({})
    with FaultyRegistry() as store, FaultyRegistry(challenge='Basic realm="r"', accepts=("Basic YTpi",)) as faulty:
        presigned = store.add_file("/bucket/blob", DATA)
        faulty.add_blob("org/model", DATA)
        faulty.inject(faults.redirect(presigned + "?Expires=99999999999", headers=(("Set-Cookie", "a=b"),)), on=digest)
        login = FixedCredentials({faulty.host: Credential("a", "b")})
        async with RegistryClient(credentials=login) as client:
            await client.check_access(faulty.host)
            assert await read(client, reference(faulty), digest, 10, 20) == DATA[10:30]
            assert await client.has_blob(reference(faulty), digest)
            assert [exchange.range for exchange in store.requests] == ["bytes=10-29"]
            location = await client.locate_blob(reference(faulty), digest)
            assert len(store.requests) == 1
        assert all("authorization" not in e.headers and "cookie" not in e.headers for e in store.requests)
        assert all(e.headers.get("authorization") for e in faulty.seen("blobs"))
        assert all("cookie" not in e.headers for e in faulty.requests)
    assert location.url.startswith(presigned)
    assert location.headers == {}
    assert (location.expires_in or 0) > 10**9
    assert "Expires" not in repr(location)


async def test_locating_follows_the_registry_itself(faulty: FaultyRegistry, client: RegistryClient) -> None:
    digest = faulty.add_blob("org/model", DATA)
    faulty.inject(faults.redirect(f"/v2/moved/blobs/{digest}"), on=f"org/model/blobs/{digest}")
    faulty.add_blob("moved", DATA)
    location = await client.locate_blob(reference(faulty), digest)
    assert location.url == f"{faulty.url}/v2/moved/blobs/{digest}"
    assert faulty.blob_bytes() == 0


async def test_a_head_redirected_where_get_is_not(faulty: FaultyRegistry, client: RegistryClient) -> None:
    digest = faulty.add_blob("org/model", b"")
    faulty.inject(faults.redirect("https://store.example/"), on="blobs", method="HEAD")
    assert (await client.locate_blob(reference(faulty), digest)).url == f"{faulty.url}/v2/org/model/blobs/{digest}"


@pytest.mark.parametrize("data", [DATA, b""])
@pytest.mark.parametrize("methods", [("GET",), ("GET", "HEAD")])
async def test_the_size_of_a_blob_that_lies_elsewhere(
    faulty: FaultyRegistry, client: RegistryClient, data: bytes, methods: tuple[str, ...]
) -> None:
    digest = faulty.add_blob("org/model", data)
    faulty.inject(faults.redirect(faulty.add_file("/bucket/blob", data, methods=methods)), on=digest)
    assert await client.blob_size(reference(faulty), digest) == len(data)
    assert faulty.blob_bytes() <= 1


async def test_a_long_error_page(faulty: FaultyRegistry, client: RegistryClient) -> None:
    faulty.inject(faults.Fault(answer=faults.Answer(403, (("Content-Type", "text/html"),), b"x" * 10**6)))
    with pytest.raises(RegistryForbidden, match="denies access"):
        await client.get_manifest(reference(faulty))


async def test_a_registry_whose_punycode_means_nothing(client: RegistryClient) -> None:
    with pytest.raises(InvalidReference, match=r"'ab--cd\.xn--zzz' is not a registry's host name"):
        await client.get_manifest(Reference.parse("ab--cd.xn--zzz/org/model:v1"))
