"""Two agents with gateways in front of one hub, and two in front of registries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from huggingface_hub import close_session

from tests.integration.gateway.gateway_nodes import TOKEN, Nodes
from tests.integration.gateway.oci_mirrors import Mirrors, log_in
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub
from tests.servers.images import needs_skopeo
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry
from tests.servers.signed_models import Keys, policy


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    home = tmp_path_factory.mktemp("gateways")
    with Hub() as hub:
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home / "hf"),
            "MODELDIST_AGENT_GATEWAY": "127.0.0.1:0",
        }
        with Cluster(home, agents=2, environment=environment) as cluster:
            try:
                yield Nodes(hub, cluster)
            finally:
                close_session()  # huggingface_hub's own, which keeps connections to gateways that end now


@pytest.fixture(scope="module")
def mirrors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrors]:
    needs_skopeo()
    home = tmp_path_factory.mktemp("mirrors")
    with (
        Registry(home / "registry") as registry,
        Registry(home / "basic", auth="basic") as basic,
        Registry(home / "token", auth="token") as token,
        FaultyRegistry(referrers=True) as faulty,
    ):
        assert token.tokens is not None
        token.tokens.anonymous = False
        private = {"basic": basic, "token": token}
        keys = Keys.make(home, "release")
        signed = {"references": ["127.0.0.1:*/guarded/**"], "keys": [str(keys.public)]}
        environment = {
            "HF_ENDPOINT": "http://127.0.0.1:9",  # no hub
            "DOCKER_CONFIG": str(log_in(home / "docker", [token.host])),  # the other one is read as callers may
            "MODELDIST_AGENT_POLICY": str(policy(home, signed, {"references": ["**"], "allow_unsigned": True})),
            "MODELDIST_AGENT_GATEWAY": "127.0.0.1:0",
            "MODELDIST_AGENT_MIRROR": ",".join((registry.host, basic.host, token.host, faulty.host)),
        }
        with (
            Cluster(home / "cluster", agents=2, environment=environment) as cluster,
            Mirrors(registry, private, faulty, keys, cluster) as mirrors,
        ):
            yield mirrors
