"""Token servers that fail or must not be trusted, tokens that end, credentials that were changed."""

from __future__ import annotations

import pytest

from modelpack.errors import (
    RegistryProtocolError,
    RegistryRateLimited,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from modelpack.oci import Credential, FixedCredentials, RegistryClient, RetryPolicy
from tests.integration.modelpack_oci.conftest import Sleeps, reference
from tests.servers import faults
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.token_server import PASSWORD, USERNAME, TokenServer

DEEP = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("realm", "says"),
    [
        ("http://auth.example/token", "auth.example over plain http"),
        ("https://169.254.169.254/token", "an address inside this network"),
        ("https://user:pw@auth.example/", "without a usable address"),
        ("https://auth.example:port/", "without a usable address"),
        ("https://auth.example:65536/", "without a usable address"),
        ("https://auth..example/", "without a usable address"),
        ("", "without a usable address"),
    ],
)
async def test_credentials_are_not_sent_to_strangers(realm: str, says: str) -> None:
    challenge = f'Bearer realm="{realm}",service="s"'
    with FaultyRegistry(challenge=challenge, accepts=("never",)) as faulty:
        credentials = FixedCredentials({faulty.host: Credential("ada", "pw")})
        async with RegistryClient(credentials=credentials) as client:
            with pytest.raises(RegistryUnauthorized, match=says):
                await client.get_manifest(reference(faulty))


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (faults.Fault(answer=faults.Answer(200, (), b"<html>")), RegistryProtocolError, "does not answer with a token"),
        (faults.Fault(answer=faults.Answer(200, (), b"{}")), RegistryProtocolError, "does not answer with a token"),
        (faults.Fault(answer=faults.Answer(200, (), DEEP)), RegistryProtocolError, "does not answer with a token"),
        (
            faults.Fault(answer=faults.Answer(200, (), b'{"token":"\xff"}')),
            RegistryProtocolError,
            "does not answer with a token",
        ),
        (faults.redirect("/elsewhere"), RegistryProtocolError, "redirects"),
        (faults.forbidden(), RegistryUnauthorized, "refuses the credentials"),
        (faults.status(418), RegistryProtocolError, "answers 418"),
        (faults.unavailable(), RegistryUnavailable, "answers 503"),
        (faults.rate_limited("1"), RegistryRateLimited, "limits requests"),
        (faults.truncated(1, times=None), RegistryProtocolError, "broke off"),
        (
            faults.Fault(answer=faults.Answer(200, (), b'{"token":"t"}')),
            RegistryUnauthorized,
            "refuses the credentials",
        ),
    ],
)
async def test_token_servers_that_fail(fault: faults.Fault, error: type[Exception], says: str, sleeps: Sleeps) -> None:
    with FaultyRegistry() as server, FaultyRegistry(accepts=("never",)) as faulty:
        server.add_file("/token", b'{"token":"abc"}')
        server.inject(fault, on="files")
        faulty.challenge = (
            f'Bearer realm="{server.url}/token?a=b",service="s",scope="repository:org/model:pull registry:catalog:*"'
        )
        credentials = FixedCredentials({faulty.host: Credential("ada", "s3cret")})
        async with RegistryClient(credentials=credentials, retry=RetryPolicy(attempts=2, sleep=sleeps)) as client:
            with pytest.raises(error, match=says) as caught:
                await client.get_manifest(reference(faulty))
        assert "s3cret" not in str(caught.value)
        query = server.requests[0].query
        assert query == "a=b&service=s&scope=repository%3Aorg%2Fmodel%3Apull&scope=registry%3Acatalog%3A%2A"


async def test_tokens_are_fetched_again_before_they_expire() -> None:
    now = [0.0]
    with TokenServer(say_expiry=False) as tokens, FaultyRegistry() as faulty:
        faulty.add_model("org/model", "v1", {"a": b"x"})
        faulty.inject(faults.unauthorized(f'Bearer realm="{tokens.realm}"', times=1))
        credentials = FixedCredentials({faulty.host: Credential(USERNAME, PASSWORD)})
        async with RegistryClient(credentials=credentials) as client:
            client._connection.auth.clock = lambda: now[0]
            for time in (0.0, 54.0, 56.0, 100.0):
                now[0] = time
                await client.head_manifest(reference(faulty))
        assert len(tokens.requests) == 2
        assert "authorization" in faulty.requests[-1].headers


async def test_a_token_that_the_registry_no_longer_takes() -> None:
    with TokenServer() as tokens, FaultyRegistry() as faulty:
        faulty.add_model("org/model", "v1", {"a": b"x"})
        challenge = f'Bearer realm="{tokens.realm}"'
        async with RegistryClient() as client:
            for _ in range(2):
                faulty.inject(faults.unauthorized(challenge, times=1))
                await client.head_manifest(reference(faulty))
        assert len(tokens.requests) == 2


async def test_basic_credentials_that_were_changed(faulty: FaultyRegistry) -> None:
    faulty.add_model("org/model", "v1", {"a": b"x"})
    credentials = FixedCredentials({faulty.host: Credential("ada", "pw")})
    async with RegistryClient(credentials=credentials) as client:
        faulty.inject(faults.unauthorized(times=1))
        await client.head_manifest(reference(faulty))
        faulty.inject(faults.unauthorized(times=1))
        with pytest.raises(RegistryUnauthorized, match="refuses the credentials"):
            await client.head_manifest(reference(faulty))


async def test_plain_http_only_where_it_is_allowed() -> None:
    async with RegistryClient(plain_http={"r.example:5000"}) as client:
        base = client._connection.base
        assert str(base("r.example:5000")) == "http://r.example:5000"
        assert str(base("r.example")) == "https://r.example"
        assert str(base("docker.io")) == "https://registry-1.docker.io"
        assert str(base("[::1]:5000")) == "http://[::1]:5000"
    async with RegistryClient(plain_http=lambda registry: registry.endswith(".lan")) as client:
        assert str(client._connection.base("models.lan")) == "http://models.lan"
