"""Pages about clusters, pasted into a shell from top to bottom: a control plane with a certificate, and nodes. What
they have others read is read by those: Prometheus, containerd, skopeo. `make docs` runs this."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.documentation import page
from tests.documentation.site_pages import CLUSTERS
from tests.documentation.town import AGENT, ROOT, SERVER, Town, free_addresses
from tests.documentation.world import World
from tests.integration.gateway.oci_mirrors import bytes_read, sizes
from tests.servers.cluster import wait_until
from tests.servers.collector import Collector
from tests.servers.containerd import Containerd
from tests.servers.images import image_layout, push
from tests.servers.postgres_cluster import PostgresCluster, postgres_binaries, postgres_cluster
from tests.servers.prometheus import Prometheus

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [DOCS / f"{name}.md" for name in ("enrolment", "explain", "gateway", "metrics", "observability", "reliability")]


def test_readme(world: World, tmp_path: Path) -> None:
    push(image_layout(tmp_path / "image", "readme", {"linux/amd64": 2}), world.registry.host, "org/image:v1")
    with Town(tmp_path, world) as town:
        assert town.paste(README, page.only(README.read_text(), *CLUSTERS)) == 6
        assert "org/model" in town.run("modeldist ls")
        assert (town.room / "image" / "index.json").exists()


def test_enrolment(world: World, tmp_path: Path) -> None:
    with Town(tmp_path, world) as town:
        assert town.paste(DOCS / "enrolment.md") == 5
        (node,) = [line for line in town.run("modeldist token ls").splitlines() if " node " in line]
        assert "TLS between nodes: required" in town.run("modeldist status --server $MODELDIST_SERVER")
        identity = Path(town.environment["MODELDIST_STORE"]) / "identity"
        assert {file.name for file in identity.iterdir()} == {"authority.pem", "node.pem", "token"}
        assert "TLS between nodes" in town.logs[1]
        town.run(f"modeldist token revoke {node.split()[-1]}")


def test_metrics(world: World, tmp_path: Path) -> None:
    """A real Prometheus takes what the page has it read."""
    with Town(tmp_path, world) as town:
        town.start(SERVER)
        assert town.paste(DOCS / "metrics.md") == 6
        config = yaml.safe_load((town.etc / "prometheus" / "prometheus.yml").read_text())
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("SSL_CERT_FILE", town.environment["SSL_CERT_FILE"])
            with Prometheus(tmp_path / "prometheus", config) as prometheus:
                wait_until("both to be scraped", lambda: prometheus.value("sum(up)") == 2)
                wait_until("the agent", lambda: prometheus.value("sum(modeldist_server_agents)") == 1)
                wait_until("rules", lambda: bool(prometheus.rules()))


def test_observability(world: World, tmp_path: Path) -> None:
    """A real collector has the trace that the page draws."""
    with (
        Collector() as collector,
        Town(
            tmp_path,
            world,
            places={"http://collector:4318": collector.environment["OTEL_EXPORTER_OTLP_ENDPOINT"]},
            tls=False,
        ) as town,
    ):
        assert town.paste(DOCS / "observability.md") == 8
        (command,) = collector.named("modeldist preheat")
        for name in ("request", "pull", "resolve", "control resolve", "shard", "materialise"):
            wait_until(f"the span {name}", lambda name=name: bool(collector.named(name, command.trace)))
        for profile in ("agent", "control"):
            assert "modeldist" in (town.room / f"{profile}.collapsed").read_text()


def test_explain(world: World, tmp_path: Path) -> None:
    with Town(tmp_path, world) as town:
        town.start(SERVER, AGENT, "modeldist pull org/model:tag")
        assert town.paste(DOCS / "explain.md") == 5


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresCluster]:
    binaries = postgres_binaries()
    assert binaries is not None, "PostgreSQL is not installed: deploy/setup/system-packages.sh"
    with postgres_cluster(binaries) as cluster:
        yield cluster


def test_several_control_planes(world: World, tmp_path: Path, postgres: PostgresCluster) -> None:
    """Two of them, with a directory each."""
    (other,) = free_addresses(1)
    elsewhere = f"modeldist server --port {other.rpartition(':')[2]} --state-dir {tmp_path / 'control-b'} --advertise"
    places = {
        "postgresql://modeldist:…@database/modeldist": f"'{postgres.new_database()}'",
        "modeldist server --advertise https://control-b:7420": f"{elsewhere} https://{other}",
        "control-b:7420": other,
    }
    with Town(tmp_path, world, places=places) as town:
        assert town.paste(DOCS / "reliability.md") == 5
        assert "leads" in town.logs[0]
        assert "stands by" in town.logs[1]


def test_gateway(world: World, tmp_path: Path) -> None:
    """Hugging Face's client, skopeo and containerd, each with what the page has it read; the image is read once."""
    host = world.registry.host
    image = image_layout(tmp_path / "image", "gateway", {"linux/amd64": 2})
    push(image, host, "org/image:v1")
    (gateway,) = free_addresses(1)
    places = {
        "127.0.0.1:7430/registry.example": f"{gateway}/{host.replace(':', '_')}",
        "127.0.0.1:7430": gateway,
        "registry.example.org/model": f"{host.replace(':', '-')}.org/model",
        "/etc/containers/": f"{tmp_path}/home/.config/containers/",
    }
    with Containerd({}) as containerd, Town(tmp_path, world, places=places, given=containerd.environment) as town:
        town.start(SERVER)
        world.registry.clear_log()
        assert town.paste(DOCS / "gateway.md") == 7
        read = bytes_read(world.registry)
        assert {digest: read[digest] for digest in read if digest in image.blobs} == sizes(image.blobs)
        assert containerd.content() <= set(image.blobs)
