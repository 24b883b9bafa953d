"""Uploads to a registry that fails, loses answers, or takes no chunks."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.errors import (
    DigestMismatch,
    RegistryProtocolError,
    RegistryUnavailable,
)
from modelpack.oci import RegistryClient
from tests.integration.modelpack_oci.conftest import DATA, Sleeps, digest_of, reference
from tests.servers import faults
from tests.servers.oci_faults import FaultyRegistry


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("in_memory", [False, True])
async def test_a_broken_upload_goes_on(relative: bool, in_memory: bool, client: RegistryClient, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    seen: list[int] = []
    with FaultyRegistry(relative=relative) as faulty:
        faulty.inject(faults.unavailable(times=1), on="uploads", method="POST")
        faulty.inject(faults.unavailable(times=2), on="uploads", method="PATCH")
        faulty.inject(faults.unavailable(times=1), on="uploads", method="PUT")
        source = DATA if in_memory else path
        await client.upload_blob(reference(faulty), source, digest_of(DATA), len(DATA), seen.append)
        assert faulty.blobs[digest_of(DATA)] == DATA
    assert sum(seen) == len(DATA)


async def test_a_lost_answer_of_a_chunk(faulty: FaultyRegistry, client: RegistryClient) -> None:
    """The registry has the bytes and the client does not know: it asks where it stands and goes on from there."""
    faulty.inject(faults.lost_answer(), on="uploads", method="PATCH")
    await client.upload_blob(reference(faulty), DATA, digest_of(DATA), len(DATA))
    assert faulty.blobs[digest_of(DATA)] == DATA
    assert sum(len(exchange.received) for exchange in faulty.seen("uploads", "PATCH")) == len(DATA)
    faulty.inject(faults.lost_answer(), on="uploads", method="PUT")
    await client.upload_blob(reference(faulty), b"x", digest_of(b"x"), 1)
    assert len(faulty.seen("uploads", "PUT")) == 2  # one for each blob


async def test_a_session_that_is_lost(faulty: FaultyRegistry, client: RegistryClient) -> None:
    faulty.inject(faults.unavailable(times=1), on="uploads", method="PATCH")
    faulty.inject(faults.status(404, "BLOB_UPLOAD_UNKNOWN", times=1), on="uploads", method="GET")
    await client.upload_blob(reference(faulty), DATA, digest_of(DATA), len(DATA))
    assert faulty.blobs[digest_of(DATA)] == DATA
    assert len(faulty.seen("uploads", "POST")) == 2


async def test_a_registry_that_has_less_than_we_thought(faulty: FaultyRegistry, client: RegistryClient) -> None:
    liar = faults.Fault(times=1, headers=(("Range", "0-149999"),))
    faulty.inject(liar, on="uploads", method="PATCH")
    await client.upload_blob(reference(faulty), DATA, digest_of(DATA), len(DATA))
    assert faulty.blobs[digest_of(DATA)] == DATA
    assert 416 in [exchange.status for exchange in faulty.seen("uploads", "PATCH")]


async def test_a_registry_without_chunks(client: RegistryClient) -> None:
    with FaultyRegistry(chunked=False) as faulty:
        await client.upload_blob(reference(faulty), DATA, digest_of(DATA), len(DATA))
        assert faulty.blobs[digest_of(DATA)] == DATA
        assert len(faulty.seen("uploads", "PATCH")) == 1


async def test_a_registry_with_small_chunks(tmp_path: Path) -> None:
    big = b"z" * (5 * 1024 * 1024)
    with FaultyRegistry(chunk_limit=4 * 1024 * 1024) as faulty:
        async with RegistryClient(chunk=len(big) - 1) as client:
            await client.upload_blob(reference(faulty), big, digest_of(big), len(big))
        assert faulty.blobs[digest_of(big)] == big
        assert [len(exchange.received) for exchange in faulty.seen("uploads", "PATCH")][1:] == [4 << 20, 1 << 20]


async def test_uploads_that_fail(faulty: FaultyRegistry, client: RegistryClient, tmp_path: Path) -> None:
    ref, digest = reference(faulty), digest_of(DATA)
    with pytest.raises(DigestMismatch, match="found another digest"):
        await client.upload_blob(ref, b"other", digest, 5)
    path = tmp_path / "short"
    path.write_bytes(DATA[:1000])
    with pytest.raises(DigestMismatch, match="short ends at byte 1000 and should have 512000"):
        await client.upload_blob(ref, path, digest, len(DATA))
    faulty.inject(faults.status(400, "SIZE_INVALID", times=1), method="PUT")
    with pytest.raises(RegistryProtocolError, match=r"refused it \(SIZE_INVALID\)"):
        await client.upload_blob(ref, DATA, digest, len(DATA))
    faulty.inject(faults.Fault(times=1, headers=(("Location", ""),)), method="POST")
    with pytest.raises(RegistryProtocolError, match="does not say where"):
        await client.upload_blob(ref, DATA, digest, len(DATA))
    faulty.inject(faults.unavailable(), on="uploads", method="PATCH")
    with pytest.raises(RegistryUnavailable, match="answers 503 for blob"):
        await client.upload_blob(ref, DATA, digest, len(DATA))
    faulty.heal()
    faulty.inject(faults.Fault(times=1), method="PATCH")
    faulty.inject(faults.status(415, times=1), method="PATCH")
    with pytest.raises(RegistryProtocolError, match=r"answers 415 in the middle of .* at byte 100000"):
        await client.upload_blob(ref, DATA, digest, len(DATA))


async def test_an_answer_that_comes_too_late(faulty: FaultyRegistry, client: RegistryClient) -> None:
    """The blob was committed but the client saw an error: the blob is there, so the upload is done."""
    faulty.add_blob("org/model", b"x")
    faulty.inject(faults.unavailable(times=1), method="PUT")
    await client.upload_blob(reference(faulty), b"x", digest_of(b"x"), 1)
    assert len(faulty.seen("uploads", "PUT")) == 1


async def test_a_mount_that_is_refused(client: RegistryClient) -> None:
    with FaultyRegistry(mount=False) as faulty:
        digest = faulty.add_blob("org/source", b"x")
        assert await client.mount_blob(reference(faulty), digest, "org/source") is False
        faulty.inject(faults.forbidden())
        assert await client.mount_blob(reference(faulty), digest, "org/source") is False


async def test_an_upload_that_gets_no_further(faulty: FaultyRegistry, client: RegistryClient, sleeps: Sleeps) -> None:
    faulty.inject(faults.Fault(headers=(("Range", "0-9"),)), on="uploads")
    with pytest.raises(RegistryProtocolError, match=r"takes chunks of blob .* and stays at byte 10"):
        await client.upload_blob(reference(faulty), DATA, digest_of(DATA), len(DATA))
    assert len(sleeps) == 2


async def test_sessions_that_are_lost_again_and_again(faulty: FaultyRegistry, client: RegistryClient) -> None:
    for _ in range(9):
        faulty.inject(faults.Fault(times=1), on="uploads", method="PATCH")
        faulty.inject(faults.unavailable(times=1), on="uploads", method="PATCH")
    faulty.inject(faults.status(404, "BLOB_UPLOAD_UNKNOWN"), on="uploads", method="GET")
    with pytest.raises(RegistryUnavailable, match="answers 503"):
        await client.upload_blob(reference(faulty), DATA, digest_of(DATA), len(DATA))
    assert len(faulty.seen("uploads", "POST")) == 3


async def test_the_least_chunk_of_the_registry(faulty: FaultyRegistry, client: RegistryClient) -> None:
    faulty.inject(faults.Fault(headers=(("OCI-Chunk-Min-Length", "300000"),)), method="POST")
    await client.upload_blob(reference(faulty), DATA, digest_of(DATA), len(DATA))
    assert [len(exchange.received) for exchange in faulty.seen("uploads", "PATCH")] == [300_000, 212_000]
