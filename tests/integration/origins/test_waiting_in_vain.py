"""Questions that are never answered, or cannot even be asked, end with a sentence; not after every possible retry."""

from __future__ import annotations

from collections.abc import Iterator

import huggingface_hub
import pytest

from modeldist.errors import OriginUnavailable
from modeldist.origins.router import Origins
from modeldist.origins.settings import HttpSettings, OriginSettings
from tests.servers.drips import SlowServer

PATIENT = HttpSettings(stall_timeout=0.2, answer_patience=0.3, retries=1000, backoff=0.01, backoff_cap=0.01)


@pytest.fixture(autouse=True)
def hub_session() -> Iterator[None]:
    """huggingface_hub's session remembers the proxies of the moment it was made."""
    yield
    huggingface_hub.close_session()


def asked(kind: str, server: SlowServer) -> tuple[Origins, str]:
    """An origin, and what to ask it for."""
    url = f"http://{server.host}"
    settings = OriginSettings(
        hf_endpoint=url,
        hf_token=lambda: None,
        modelscope_endpoint=url,
        modelscope_token=lambda: None,
        http=PATIENT,
    )
    return Origins(settings), f"{url}/model.bin" if kind == "http" else f"{kind}://org/model"


@pytest.mark.parametrize("kind", ["hf", "modelscope", "http"])
async def test_an_origin_that_says_nothing(kind: str) -> None:
    with SlowServer() as server:
        origins, reference = asked(kind, server)
        try:
            with pytest.raises(OriginUnavailable, match=server.host):
                await origins.resolve(reference)
        finally:
            await origins.close()
        assert 1 <= server.requests <= 4


@pytest.mark.parametrize("kind", ["hf", "modelscope", "http"])
async def test_an_origin_whose_head_drips(kind: str) -> None:
    """Each byte comes in time; the last one never does."""
    with SlowServer(head=b"HTTP/1.1 200 OK\r\nX-Long: ", drip=b"x") as server:
        origins, reference = asked(kind, server)
        try:
            with pytest.raises(OriginUnavailable, match=rf"{server.host}.*(answers too slowly|no answer in time)"):
                await origins.resolve(reference)
        finally:
            await origins.close()


@pytest.mark.parametrize("kind", ["hf", "modelscope"])
async def test_a_hub_whose_listing_drips(kind: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    with SlowServer(head=head, drip=b" ") as server:
        origins, reference = asked(kind, server)
        try:
            with pytest.raises(OriginUnavailable, match=rf"{reference}: .* answers too slowly"):
                await origins.resolve(reference)
        finally:
            await origins.close()


async def test_a_proxy_whose_tunnel_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    with SlowServer(head=b"HTTP/1.1 200 ", drip=b"x") as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{server.host}")
        origins = Origins(OriginSettings(http=PATIENT))
        try:
            with pytest.raises(OriginUnavailable, match=rf"proxy {server.host} opens no tunnel"):
                await origins.resolve("https://origin.invalid/model.bin")
        finally:
            await origins.close()


async def test_a_proxy_with_a_malformed_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is wrong now and in a minute: with so many retries, trying again would take hours."""
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:port")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    origins = Origins(OriginSettings(plain_http=frozenset({"origin.invalid"}), http=HttpSettings(retries=1000)))
    try:
        with pytest.raises(OriginUnavailable, match=r"proxy http://proxy.invalid is not .* Set HTTPS_PROXY"):
            await origins.resolve("http://origin.invalid/model.bin")
    finally:
        await origins.close()


async def test_a_hub_behind_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    http = HttpSettings(retries=0)
    origins = Origins(OriginSettings(hf_endpoint="http://hub.invalid", hf_token=lambda: None, http=http))
    try:
        with pytest.raises(OriginUnavailable, match="the proxy settings"):
            await origins.resolve("hf://org/model")
    finally:
        await origins.close()


async def test_a_server_that_speaks_no_tls() -> None:
    with SlowServer(head=b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        origins = Origins(OriginSettings(http=HttpSettings(retries=0)))
        try:
            with pytest.raises(OriginUnavailable, match=rf"{server.host} was asked by TLS and does not speak it"):
                await origins.resolve(f"https://{server.host}/model.bin")
        finally:
            await origins.close()
