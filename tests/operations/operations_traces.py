"""One trace from the command line to pieces: real processes, a real collector on loopback."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from modeldist.agent.traces import PIECES
from tests.servers.cluster import MODELDIST, Cluster, finish, wait_until
from tests.servers.collector import Collector, Seen
from tests.servers.oci_faults import FaultyRegistry

WEIGHTS = 24_000_000
SECRETS = ("sig=of-a-presigned-url", "a-users-password")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NODES = 2


@pytest.fixture(scope="module")
def origin() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("traces") / "cluster", NODES, environment=collector.environment) as cluster:
        yield cluster


def model(origin: FaultyRegistry, name: str, seed: int) -> str:
    rng = random.Random(seed)
    origin.add_model(name, "v1", {"config.json": b"{}", "model.safetensors": rng.randbytes(WEIGHTS)})
    return f"{origin.host}/{name}:v1"


def root_of(collector: Collector, name: str) -> Seen:
    """Once it has come; a command sends its spans before it ends."""
    wait_until(f"the span {name}", lambda: bool(collector.named(name)))
    return collector.named(name)[-1]


def whole(collector: Collector, trace: str, pulls: int) -> dict[str, Seen]:
    """Spans of the trace by id, once all pulls of it have ended."""
    wait_until("the pulls' spans", lambda: len(collector.named("pull", trace)) == pulls)
    wait_until("the spans of phase 1", lambda: bool(collector.named("phase 1: join", trace)))
    return {span.span: span for span in list(collector.spans) if span.trace == trace}


def above(span: Seen, spans: dict[str, Seen]) -> list[str]:
    """Names from the root to it."""
    names = [span.name]
    while span.parent in spans:
        span = spans[span.parent]
        names.append(span.name)
    return names[::-1]


def test_one_trace_from_the_command_line_to_pieces(
    cluster: Cluster, collector: Collector, origin: FaultyRegistry
) -> None:
    reference = model(origin, "org/traced", 1)
    done = cluster.run(0, "preheat", reference, "--all", "--wait")
    assert done.returncode == 0, done.stderr
    root = root_of(collector, "modeldist preheat")
    assert root.parent == ""
    spans = whole(collector, root.trace, NODES)

    ways = {tuple(above(span, spans)) for span in spans.values()}
    asked = ("modeldist preheat", "request")
    pull = (*asked, "pull")
    shard = (*pull, "shard")
    assert {
        asked,
        pull,
        (*pull, "resolve"),
        (*pull, "resolve", "control resolve"),
        (*pull, "materialise"),
        shard,
        (*shard, "phase 1: join"),
        (*shard, "origin lease"),
        (*shard, "peer fetch"),
    } <= ways
    for span in spans.values():
        assert span is root or span.parent in spans, f"{span.name} is an orphan"
        assert span.start <= span.end

    services = {name: {span.service for span in spans.values() if span.name == name} for name in ("request", "pull")}
    assert services == {"request": {"modeldist-server"}, "pull": {"modeldist-agent"}}
    assert root.service == "modeldist"
    of_pulls = [span for span in spans.values() if span.name == "pull"]
    nodes = {span.attributes["node"] for span in of_pulls}
    assert nodes == {cluster.status(index)["node"] for index in range(NODES)}
    assert {span.attributes["state"] for span in of_pulls} == {"done"}

    leases = [span for span in spans.values() if span.name == "origin lease"]
    peers = [span for span in spans.values() if span.name == "peer fetch"]
    size = WEIGHTS + 2
    assert sum(span.attributes["bytes"] for span in leases) == size  # A = 1.00
    assert sum(span.attributes["bytes"] for span in peers) == (NODES - 1) * size
    assert {span.attributes["parent"] for span in peers} <= nodes
    for span in (*leases, *peers):
        told = [facts["bytes"] for name, facts in span.events if name == "piece"]
        assert len(told) == min(span.attributes["pieces"], PIECES), "the cost of a span is bounded"
        assert len(told) < PIECES or sum(told) <= span.attributes["bytes"]
    assert any(span.attributes["pieces"] > PIECES for span in peers)
    granted = [event for span in spans.values() for event in span.events if event[0] == "lease"]
    assert {facts["lease"] for _, facts in granted} >= {span.attributes["lease"] for span in leases}


def test_through_the_agents_socket(cluster: Cluster, collector: Collector, origin: FaultyRegistry) -> None:
    finish(cluster.pull(0, model(origin, "org/socket", 2)))
    root = root_of(collector, "modeldist pull")
    spans = whole(collector, root.trace, 1)
    (pull,) = [span for span in spans.values() if span.name == "pull"]
    assert above(pull, spans) == ["modeldist pull", "request", "pull"]
    assert spans[pull.parent].service == "modeldist-agent"


def test_a_platforms_own_trace_goes_on(cluster: Cluster, collector: Collector, origin: FaultyRegistry) -> None:
    """By REST, with a `traceparent`; and by TRACEPARENT, for who starts a command."""
    headers = {"Authorization": f"Bearer {cluster.token('admin')}", "traceparent": f"00-{TRACE}-{SPAN}-01"}
    body = {"reference": model(origin, "org/rest", 3), "nodes": "all"}
    httpx2.post(f"{cluster.url}/api/v1/pulls", json=body, headers=headers, trust_env=False).raise_for_status()
    spans = whole(collector, TRACE, NODES)
    (asked,) = [span for span in spans.values() if span.name == "request"]
    assert asked.parent == SPAN

    environment = {**cluster.environment(0), "TRACEPARENT": f"00-{TRACE[::-1]}-{SPAN}-01"}
    reference = model(origin, "org/started", 4)
    subprocess.run([*MODELDIST, "pull", "-q", reference], env=environment, check=True, capture_output=True, timeout=60)
    assert root_of(collector, "modeldist pull").parent == SPAN
    assert collector.named("modeldist pull")[-1].trace == TRACE[::-1]


def test_a_trace_that_is_not_sampled_sends_nothing(
    cluster: Cluster, collector: Collector, origin: FaultyRegistry
) -> None:
    unwanted = TRACE.replace("4", "7")
    environment = {**cluster.environment(0), "TRACEPARENT": f"00-{unwanted}-{SPAN}-00"}
    reference = model(origin, "org/unsampled", 5)
    subprocess.run([*MODELDIST, "pull", "-q", reference], env=environment, check=True, capture_output=True, timeout=60)
    finish(cluster.pull(1, reference))  # whose spans come after those would have
    root_of(collector, "modeldist pull")
    assert not [span for span in collector.spans if span.trace == unwanted]


def test_a_pull_without_an_agent(
    collector: Collector, origin: FaultyRegistry, tmp_path: Path, cluster: Cluster
) -> None:
    environment = {**cluster.environment(0), "MODELDIST_STORE": str(tmp_path / "store")}
    before = len(collector.named("modeldist pull"))
    words = [*MODELDIST, "pull", "-q", "--no-agent", model(origin, "org/alone", 6)]
    subprocess.run(words, env=environment, check=True, capture_output=True, timeout=60)
    wait_until("its span", lambda: len(collector.named("modeldist pull")) > before)
    root = collector.named("modeldist pull")[-1]
    spans = whole(collector, root.trace, 1)
    ways = {tuple(above(span, spans)) for span in spans.values()}
    assert ("modeldist pull", "pull", "shard", "origin lease") in ways
    assert {span.service for span in spans.values()} == {"modeldist"}


def test_no_secret_is_in_any_span(cluster: Cluster, collector: Collector, origin: FaultyRegistry) -> None:
    """Neither of a URL that works nor of one that does not."""
    host = origin.host
    for reference in (
        f"http://{host}/files/absent.safetensors?{SECRETS[0]}",
        f"http://user:{SECRETS[1]}@{host}/files/absent.safetensors",
    ):
        assert cluster.run(0, "pull", reference).returncode != 0
    failed = root_of(collector, "modeldist pull")
    assert failed.error
    cluster.run(0, "pull", model(origin, "org/last", 7))
    sent = b"".join(collector.raw)
    for secret in (*SECRETS, cluster.token("admin"), cluster.token("agent")):
        assert secret.encode() not in sent


def test_a_collector_that_is_away_keeps_nobody(cluster: Cluster, origin: FaultyRegistry, tmp_path: Path) -> None:
    environment = {
        **cluster.environment(0),
        "MODELDIST_STORE": str(tmp_path / "store"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    }
    words = [*MODELDIST, "pull", "--no-agent", model(origin, "org/away", 8)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is grpc"),
        ({"PYTHONPATH": "shadow"}, "pip install 'modeldist[otel]'"),
    ],
    ids=["grpc", "without-the-extra"],
)
def test_what_keeps_traces_from_being_sent_is_said(
    variables: dict[str, str], says: str, cluster: Cluster, origin: FaultyRegistry, tmp_path: Path
) -> None:
    if "PYTHONPATH" in variables:  # as if it were not installed
        (tmp_path / "opentelemetry").mkdir()
        (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ModuleNotFoundError(name='opentelemetry')\n")
        variables = {"PYTHONPATH": str(tmp_path)}
    environment = {**cluster.environment(0), "MODELDIST_STORE": str(tmp_path / "store"), **variables}
    words = [sys.executable, "-m", "modeldist", "pull", "--no-agent", model(origin, "org/unsent", 9)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert says in done.stderr
