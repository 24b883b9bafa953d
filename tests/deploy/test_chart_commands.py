"""What the rendered containers run is what the program takes, and its ports, paths and addresses agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from modeldist.agent.serving import gateway_socket, split_address
from modeldist.agent.settings import SHORTEST_TOKEN, AgentSettings
from modeldist.control.settings import ServerSettings
from modeldist.control.store.database import engine_for
from tests.deploy import told
from tests.deploy.helm import NAMESPACE, VALUE_SETS, Document, of_kind, rendered, workload
from tests.deploy.pods import HOST_IP, NODE, Container, container

value_sets = pytest.mark.parametrize("values", VALUE_SETS, ids=lambda path: path.stem)


def pod_of(documents: tuple[Document, ...], part: str) -> dict[str, Any]:
    pod: dict[str, Any] = workload(documents, part)["spec"]["template"]["spec"]
    return pod


def server(values: Path, folder: Path) -> tuple[ServerSettings, Container]:
    found = container(pod_of(rendered(values), "control"), folder)
    told.check_names(found.environment)
    settings = told.settings_of(found.words, found.environment)
    assert isinstance(settings, ServerSettings)
    return settings, found


def agent(values: Path, folder: Path, pod_ip: str = "10.1.2.3") -> tuple[AgentSettings, Container]:
    found = container(pod_of(rendered(values), "agent"), folder, pod_ip)
    told.check_names(found.environment)
    settings = told.settings_of(found.words, found.environment)
    assert isinstance(settings, AgentSettings)
    return settings, found


@value_sets
def test_the_control_plane(values: Path, tmp_path: Path) -> None:
    settings, pod = server(values, tmp_path)
    settings.check_exposure()
    assert settings.port == pod.port("control")
    assert settings.state_dir == tmp_path / "var/lib/modeldist"
    assert settings.state_dir.is_dir(), "no volume is mounted there"
    (service,) = of_kind(rendered(values), "Service")
    assert service["spec"]["ports"] == [
        {"name": "control", "port": settings.port, "targetPort": "control", "protocol": "TCP"}
    ]
    assert bool(settings.database_url) == ("database" in values.read_text())
    if settings.database_url:
        assert engine_for(settings.database_url).dialect.name == "postgresql"


@value_sets
@pytest.mark.parametrize("pod_ip", ["10.1.2.3", "fd00::7"])
def test_the_agent(values: Path, tmp_path: Path, pod_ip: str) -> None:
    settings, pod = agent(values, tmp_path, pod_ip)
    assert (settings.join_secret() or settings.secret()).startswith("md_")
    assert bool(settings.join_secret()) == (settings.token_file is None)
    assert settings.name == NODE
    assert split_address(settings.listen) == (pod_ip, pod.port("pieces"))
    assert settings.advertise in ("", f"{HOST_IP}:{pod.host_port('pieces')}")
    if settings.metrics:
        assert split_address(settings.metrics) == (pod_ip, pod.port("metrics"))
        assert len(settings.metrics_token()) >= SHORTEST_TOKEN
    for place in (settings.store, settings.socket.parent):
        assert place.is_relative_to(tmp_path)
        assert place.is_dir()
    assert settings.store == Path(pod.environment["MODELDIST_STORE"])
    assert settings.socket == Path(pod.environment["MODELDIST_SOCKET"])
    if settings.gateway:
        assert split_address(settings.gateway) == ("127.0.0.1", pod.port("gateway"))
        with gateway_socket("127.0.0.1:0"):
            assert pod_of(rendered(values), "agent")["hostNetwork"] is True


@value_sets
def test_agents_go_to_the_service(values: Path, tmp_path: Path) -> None:
    plane, _ = server(values, tmp_path / "control")
    url = urlsplit(agent(values, tmp_path / "agent")[0].control)
    (service,) = of_kind(rendered(values), "Service")
    assert url.hostname == f"{service['metadata']['name']}.{NAMESPACE}.svc"
    assert url.port == service["spec"]["ports"][0]["port"]
    assert (url.scheme == "https") == plane.tls
    for certificate in of_kind(rendered(values), "Certificate"):
        assert url.hostname in certificate["spec"]["dnsNames"]


@value_sets
def test_engines_find_the_store_where_the_agent_has_it(values: Path) -> None:
    """Snapshots name their place, so it has to be the same in each container."""
    pod = pod_of(rendered(values), "agent")
    hosts = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    hosts.pop("join", None)
    for each in (*pod["initContainers"], *pod["containers"]):
        mounted = {mount["name"]: mount["mountPath"] for mount in each["volumeMounts"] if mount["name"] in hosts}
        assert mounted == hosts
    assert set(pod["initContainers"][0]["args"]) == set(hosts.values())


@value_sets
def test_probes_of_the_agent_are_commands_of_the_program(values: Path, tmp_path: Path) -> None:
    settings, pod = agent(values, tmp_path)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        words = pod.spec[probe]["exec"]["command"]
        here = told.check_command(words).params
        assert str(settings.socket).endswith(str(here["socket"]))


def test_defaults_are_those_of_the_program(tmp_path: Path) -> None:
    values = next(path for path in VALUE_SETS if path.stem == "minimal-sqlite")
    chosen = {"host", "state_dir", "tls_cert", "tls_key", "log_format"}
    plane, bare = server(values, tmp_path / "control")[0].model_dump(), ServerSettings().model_dump()
    assert {name for name in bare if plane[name] != bare[name]} <= chosen
    node, alone = agent(values, tmp_path / "agent")[0].model_dump(), AgentSettings().model_dump()
    chosen = {"control", "token_file", "name", "listen", "store", "socket", "rdma", "log_json"}
    assert {name for name in alone if node[name] != alone[name]} <= chosen


def test_values_reach_their_settings(tmp_path: Path) -> None:
    everything = next(path for path in VALUE_SETS if path.stem == "everything")
    plane, node = server(everything, tmp_path / "control")[0], agent(everything, tmp_path / "agent")[0]
    assert (plane.piece_tls, node.metrics) == ("prefer", "[10.1.2.3]:9002")
    assert (plane.origin_streams, plane.origin_rate, plane.ping_interval) == (16, 500e6, 30)
    assert plane.webhook_hosts == ("platform.internal",)
    assert plane.trusted_proxies == ("10.244.0.0/16", "fd00::5")
    assert plane.default_registry == node.default_registry == "registry.example"
    assert plane.plain_http_registries == node.plain_http == ("localhost:5000",)
    assert plane.policy is not None and plane.policy.name == "strict.toml"
    assert node.policy is not None and node.policy.name == "strict.toml"
    assert (plane.log_level, plane.log_format) == (node.log_level, "console") == ("debug", "console")
    assert (node.rack, node.zone, node.labels) == ("r1", "z1", {"gpu": "h100"})
    assert node.upload_rate == node.download_rate == 10e9
    assert (node.origin_streams, node.mirror) == (8, ("docker.io",))
    replicas = agent(everything.with_name("postgresql-replicas.yaml"), tmp_path / "replicas")[0]
    assert replicas.advertise == f"{HOST_IP}:17421"
    rdma = agent(everything.with_name("rdma.yaml"), tmp_path / "rdma")[0]
    assert (rdma.rdma, rdma.rdma_devices, rdma.rdma_memory) == ("auto", ("mlx5_0", "mlx5_1"), 256 << 20)
    mirrors = agent(everything.with_name("gateway-mirrors.yaml"), tmp_path / "mirrors")
    assert mirrors[0].mirror == ("docker.io", "*.registry.example", "registry.example:5000")
    assert mirrors[1].environment["HF_ENDPOINT"] == "https://hub.example"
