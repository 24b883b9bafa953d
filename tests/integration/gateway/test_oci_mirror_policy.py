"""An agent with a policy mirrors nothing that does not pass it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.integration.gateway.gateway_nodes import gateway_of
from tests.integration.gateway.oci_mirrors import bytes_read, code
from tests.servers.cluster import Cluster
from tests.servers.images import blobs_in, image_layout, needs_skopeo, push, skopeo
from tests.servers.registry import Registry
from tests.servers.signed_models import Keys, policy


class Guarded:
    def __init__(self, registry: Registry, cluster: Cluster, keys: Keys) -> None:
        self.registry = registry
        self.cluster = cluster
        self.keys = keys
        self.url = gateway_of(cluster.agents[0].log)

    def ask(self, rest: str) -> httpx2.Response:
        return httpx2.get(f"{self.url}/v2/{rest}", params={"ns": self.registry.host}, timeout=30)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    needs_skopeo()
    home = tmp_path_factory.mktemp("guarded")
    keys = Keys.make(home, "release")
    with Registry(home / "registry") as registry:
        environment = {
            "MODELDIST_AGENT_GATEWAY": "127.0.0.1:0",
            "MODELDIST_AGENT_MIRROR": registry.host,
            "MODELDIST_AGENT_POLICY": str(policy(home, {"references": ["**"], "keys": [str(keys.public)]})),
        }
        with Cluster(home / "cluster", agents=1, environment=environment) as cluster:
            yield Guarded(registry, cluster, keys)


def test_an_unsigned_image(guarded: Guarded, tmp_path: Path) -> None:
    image = image_layout(tmp_path / "image", "unsigned", {"linux/amd64": 2})
    push(image, guarded.registry.host, "org/unsigned:v1")
    guarded.registry.clear_log()
    refused = guarded.ask("org/unsigned/manifests/v1")
    assert code(refused) == (403, "DENIED")
    assert "it has no signature" in refused.text
    largest = max(image.blobs, key=lambda digest: len(image.blobs[digest]))
    assert code(guarded.ask(f"org/unsigned/blobs/{largest}")) == (403, "DENIED")
    assert largest not in bytes_read(guarded.registry)


def test_images_of_a_signed_index(guarded: Guarded, tmp_path: Path) -> None:
    image, host = (
        image_layout(tmp_path / "image", "signed", {"linux/amd64": 2, "linux/arm64": 1}),
        guarded.registry.host,
    )
    reference = push(image, host, "org/signed:v1")
    signed = guarded.cluster.run(0, "sign", reference, "--key", str(guarded.keys.secret))
    assert signed.returncode == 0, signed.stderr
    mirror = f"{guarded.url.removeprefix('http://')}/{host.replace(':', '_')}/org/signed:v1"
    copy = tmp_path / "copy"
    skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", f"docker://{mirror}", f"oci:{copy}:v1")
    assert blobs_in(copy) == image.blobs
