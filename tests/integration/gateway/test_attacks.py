"""The gateway when things happen to it: evictions, kills, a hub that leads elsewhere, and what is said of secrets."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from random import Random

import httpx2
import pytest

from tests.integration.gateway.gateway_nodes import TOKEN, Nodes, model, weights
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault

CALLER = "hf_of_a_caller_5f2d"
READER = "hf_" + "Ab3" * 10
USER = "somebody:s3cret-password-91"


@pytest.fixture(scope="module")
def gateway_port() -> int:
    """One that an agent finds again after its restart: none of those that the kernel gives to whoever connects."""
    for port in Random().sample(range(20_000, 32_000), 100):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub(cdn=True) as hub:
        yield hub


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, hub: Hub, gateway_port: int) -> Iterator[Nodes]:
    home = tmp_path_factory.mktemp("attacked")
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(home / "hf"),
        "MODELDIST_AGENT_GATEWAY": f"127.0.0.1:{gateway_port}",
        "MODELDIST_AGENT_LOG_LEVEL": "debug",
    }
    with Cluster(home, agents=1, environment=environment) as cluster:
        yield Nodes(hub, cluster)


@pytest.fixture
def repo(hub: Hub, request: pytest.FixtureRequest) -> str:
    name = f"org/{request.node.originalname.replace('_', '-')[5:60]}"
    hub.commit(name, model(name))
    return name


def removed(nodes: Nodes, reference: str) -> None:
    for command in (("rm", reference), ("gc", "--max-age", "0s")):
        done = nodes.cluster.run(0, *command)
        assert done.returncode == 0, done.stderr


def test_a_model_is_removed_while_it_is_read(alone: Nodes, hub: Hub, repo: str) -> None:
    content = weights(repo, 40_000_000)
    hub.commit(repo, {"model.safetensors": content})
    url = f"{alone.urls[0]}/{repo}/resolve/main/model.safetensors"
    for _ in range(2):  # while it comes, and from the store
        held = hub.cdn.fail(Fault(hold_at=30_000_000)) if hub.cdn else None
        try:
            with httpx2.stream("GET", url, timeout=60) as answer:
                chunks = answer.iter_raw()
                got = next(chunks)
                listed = alone.cluster.run(0, "ls", "--json")
                for row in json.loads(listed.stdout):
                    if repo in row["name"]:
                        removed(alone, row["references"][0])
                if held:
                    held.until.set()
                assert got + b"".join(chunks) == content
        finally:
            if held:
                held.until.set()
        hub.heal()


def test_the_agent_is_killed_while_a_client_reads(alone: Nodes, hub: Hub, repo: str) -> None:
    """Who asks again for the rest, as huggingface_hub does, gets the rest of the same file."""
    content = weights(repo, 40_000_000)
    hub.commit(repo, {"model.safetensors": content})
    url = f"{alone.urls[0]}/{repo}/resolve/main/model.safetensors"
    assert hub.cdn is not None
    held = hub.cdn.fail(Fault(hold_at=20_000_000))
    got = bytearray()
    try:
        with pytest.raises(httpx2.HTTPError), httpx2.stream("GET", url, timeout=60) as answer:
            for chunk in answer.iter_raw():
                if not got:
                    alone.cluster.agents[0].kill()
                got += chunk
    finally:
        held.until.set()
    alone.cluster.agents[0].start()
    alone.cluster.wait_joined(0)
    rest = httpx2.get(url, headers={"Range": f"bytes={len(got)}-"}, timeout=60)
    assert (rest.status_code, got + rest.content) == (206, content)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_hub_that_leads_to_metadata(alone: Nodes, hub: Hub, repo: str, method: str) -> None:
    """Who is asked whether the caller may read, and who is asked for the bytes."""
    there = {"Location": "http://169.254.169.254/latest/meta-data/"}
    hub.fail(Fault(path=f"{repo}/resolve", method=method, status=302, headers=there, times=100))
    try:
        answer = httpx2.get(f"{alone.urls[0]}/{repo}/resolve/main/config.json", timeout=60)
    finally:
        hub.heal()
    assert answer.status_code == 502, answer.text
    assert ("169.254.169.254" in answer.text) is (method == "GET"), answer.text


def test_no_secret_is_told(alone: Nodes, hub: Hub, repo: str) -> None:
    """Neither in answers nor in logs: tokens, what is in a query, signatures of links."""
    assert hub.cdn is not None
    said = []
    url = f"{alone.urls[0]}/{repo}/resolve/main"
    for token, server, status, path in (
        (CALLER, hub, 401, "model-00001-of-00002.safetensors?token=in-the-query-77"),
        (USER, hub, 404, "config.json"),
        (CALLER, hub, 429, "config.json"),
        (CALLER, hub, 500, "config.json"),
        (CALLER, hub.cdn, 404, "model-00002-of-00002.safetensors?token=in-the-query-77"),
    ):
        server.fail(Fault(status=status, times=100))
        try:
            for method in ("HEAD", "GET"):
                headers = {"Authorization": f"Bearer {token}"}
                answer = httpx2.request(method, f"{url}/{path}", headers=headers, timeout=60)
                said += [answer.text, str(answer.headers)]
        finally:
            server.heal()
    said += [alone.cluster.agents[0].log, alone.cluster.server.log]
    said += [alone.cluster.run(0, *command).stdout for command in (("status", "--json"), ("ls", "--json"))]
    assert any("model-00002" in text for text in said)  # it was said, without its query
    for text in said:
        for secret in (CALLER, "s3cret-password-91", TOKEN, "in-the-query-77", "signature="):
            assert secret not in text, text[max(0, text.index(secret) - 300) : text.index(secret) + 100]


@pytest.mark.slow
def test_a_restart_while_the_hub_is_away(alone: Nodes, hub: Hub, repo: str) -> None:
    """Who could read before can read what is here; nobody else, and no longer than a day."""
    gated, agent = f"{repo}-gated", alone.cluster.agents[0]
    hub.commit(gated, model(gated))
    hub.restrict(gated, [TOKEN, READER])

    def asked(name: str, token: str = "") -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.get(f"{alone.urls[0]}/{name}/resolve/main/config.json", headers=headers, timeout=60)

    for name, token, status in ((repo, "", 200), (gated, READER, 200), (gated, TOKEN, 200), (gated, "", 401)):
        assert asked(name, token).status_code == status
    hub.fail(Fault(path=repo, status=503, times=10_000))
    try:
        agent.stop()
        agent.start()
        alone.cluster.wait_joined(0)
        assert asked(repo).content == model(repo)["config.json"]
        assert asked(gated, READER).content == model(gated)["config.json"]
        for name, token in ((gated, ""), (gated, READER[::-1]), (repo, READER), (f"{repo}-other", "")):
            assert asked(name, token).status_code == 502
        kept = alone.cluster.store(0) / "hub-admissions.json"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert all(secret not in kept.read_text() for secret in (READER, TOKEN, repo))
        hub.heal()
        hub.restrict(gated, [TOKEN])
        assert asked(gated, READER).status_code == 403
        hub.fail(Fault(path=repo, status=503, times=10_000))
        agent.stop()
        agent.start()
        alone.cluster.wait_joined(0)
        assert asked(gated, READER).status_code == 502
    finally:
        hub.heal()
