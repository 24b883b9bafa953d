"""A registry that answers never, or without end, becomes a sentence that says who was waited for."""

from __future__ import annotations

import pytest

from modelpack.errors import RegistryUnavailable
from modelpack.manifest import Descriptor
from modelpack.oci import RegistryClient, RetryPolicy
from modelpack.reference import Reference
from tests.integration.modelpack_oci.conftest import DATA, digest_of, reference
from tests.servers.drips import SlowServer
from tests.servers.oci_faults import FaultyRegistry

LONG = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: 100000\r\n\r\n"
HASTY = RetryPolicy(base=0.01, total=0.4)


@pytest.mark.parametrize(
    ("head", "drip", "says"),
    [
        (b"", b"", "did not answer within 0.2 s"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x", "did not answer within 0.2 s"),
        (LONG, b"", "answers too slowly, 0 bytes"),
        (LONG, b" ", "answers too slowly"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", "answers too slowly"),
    ],
)
async def test_a_manifest_that_does_not_come(head: bytes, drip: bytes, says: str) -> None:
    with SlowServer(head=head, drip=drip) as server:
        async with RegistryClient(answer=0.2, retry=HASTY) as client:
            with pytest.raises(RegistryUnavailable, match=rf"in vain for {server.host}/org/model:v1: .*{says}"):
                await client.get_manifest(Reference(server.host, "org/model", "v1"))
        assert 2 <= server.requests <= 4


async def test_a_token_that_does_not_come(faulty: FaultyRegistry) -> None:
    with SlowServer() as server:
        faulty.challenge = f'Bearer realm="http://{server.host}/token"'
        async with RegistryClient(answer=0.2, retry=HASTY) as client:
            with pytest.raises(RegistryUnavailable, match=f"the token server {server.host} did not answer within"):
                await client.get_manifest(reference(faulty))


async def test_a_config_that_drips() -> None:
    descriptor = Descriptor(media_type="application/octet-stream", digest=digest_of(DATA), size=100_000)
    with SlowServer(head=LONG, drip=b" ") as server:
        async with RegistryClient(answer=0.2, retry=HASTY) as client:
            with pytest.raises(RegistryUnavailable, match=r"in vain for blob .* answers too slowly"):
                await client.get_blob(Reference(server.host, "org/model", "v1"), descriptor, 1_000_000)


async def test_a_large_answer_may_take_longer_when_it_moves(faulty: FaultyRegistry) -> None:
    """The deadline grows with what has come."""
    raw = b'{"schemaVersion": 2, "layers": [], "config": {}}' + b" " * 3_000_000
    faulty.add_manifest("org/model", "v1", raw)
    async with RegistryClient(answer=0.5, retry=HASTY) as client:
        assert (await client.get_manifest(reference(faulty))).raw == raw
