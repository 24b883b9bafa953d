"""Agents that mirror registries."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import httpx2

from tests.integration.gateway.gateway_nodes import gateway_of
from tests.servers.cluster import Cluster
from tests.servers.images import blobs_in, skopeo
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import PASSWORD, USERNAME, Registry
from tests.servers.signed_models import Keys


class Mirrors:
    """Two agents that mirror some registries: one for all, private ones by how they ask who comes, and one that fails
    on demand. What begins with `guarded/` must be signed with `keys`. `web` asks them."""

    def __init__(
        self,
        registry: Registry,
        private: Mapping[str, Registry],
        faulty: FaultyRegistry,
        keys: Keys,
        cluster: Cluster,
    ) -> None:
        self.web = httpx2.Client(timeout=60)
        self.registry = registry
        self.private = private
        self.faulty = faulty
        self.keys = keys
        self.cluster = cluster
        self.urls = [gateway_of(agent.log) for agent in cluster.agents]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.web.close()

    def name(self, host: str, repository: str) -> str:
        """What a repository is called on the mirror."""
        return f"{host.replace(':', '_')}/{repository}"

    def reference(self, node: int, host: str, name: str) -> str:
        return f"{self.urls[node].removeprefix('http://')}/{self.name(host, name)}"

    def url(self, node: int, host: str, name: str, rest: str) -> str:
        """Of the distribution API."""
        return f"{self.urls[node]}/v2/{self.name(host, name)}/{rest}"

    def copy(self, node: int, host: str, name: str, folder: Path, *flags: str) -> dict[str, bytes]:
        """By skopeo, through the mirror of a node."""
        source = f"docker://{self.reference(node, host, name)}"
        skopeo("copy", *flags, "--preserve-digests", "--src-tls-verify=false", source, f"oci:{folder}:v1")
        return blobs_in(folder)


def bytes_read(registry: Registry) -> dict[str, int]:
    """Bytes that the registry gave of manifests and blobs, by digest or tag."""
    found: Counter[str] = Counter()
    for access in registry.access_log():
        _, of_a_repository, version = access.path.rpartition("/blobs/")
        if not of_a_repository:
            _, of_a_repository, version = access.path.rpartition("/manifests/")
        if of_a_repository and access.method == "GET" and access.status < 300:
            found[version] += access.bytes
    return dict(found)


def sizes(blobs: Mapping[str, bytes]) -> dict[str, int]:
    return {digest: len(data) for digest, data in blobs.items()}


def log_in(home: Path, hosts: Iterable[str]) -> Path:
    """Docker's configuration of somebody who has logged in there."""
    home.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    (home / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth} for host in hosts}}))
    return home


def code(answer: httpx2.Response) -> tuple[int, str]:
    """Its status, and the code of its error document."""
    (error,) = answer.json()["errors"]
    assert error["message"]
    return answer.status_code, error["code"]
