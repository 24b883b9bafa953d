"""What Prometheus reads of a cluster that pulls: it agrees with what the origin sent and what nodes hold."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modeldist.agent.metrics import AGENT_METRICS
from modeldist.control.admission.rooms import Ceilings
from modeldist.control.metrics.names import SERVER_METRICS
from modeldist.errors import AccessDenied
from modeldist.metrics import exposition
from modeldist.metrics.metric import Metric
from tests.servers import faults
from tests.servers.cluster import MODELDIST, Cluster, finish, wait_until
from tests.servers.oci_faults import FaultyRegistry

TOKEN = "a-token-that-nobody-guesses"
PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
NODES = 3
ORIGIN_FAILURES = "modeldist_agent_origin_failures_total"

Samples = dict[tuple[str, tuple[str, ...]], float]
"""(name, values of its labels) -> value."""


@pytest.fixture(scope="module")
def origin() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("metrics")
    token = home / "metrics.token"
    token.write_text(f"{TOKEN}\n")
    environment = {
        "MODELDIST_AGENT_METRICS": "127.0.0.1:0",
        "MODELDIST_AGENT_METRICS_TOKEN_FILE": str(token),
    }
    with Cluster(home / "cluster", NODES, environment=environment) as cluster:
        yield cluster


def address(cluster: Cluster, node: int) -> str:
    return re.findall(r"http://127\.0\.0\.1:\d+/metrics", cluster.agents[node].log)[-1]


def scrape(url: str, token: str, known: dict[str, Metric]) -> Samples:
    """Every sample there is; those of no metric that is known are an AssertionError."""
    answer = httpx2.get(url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        name = family.name + ("_total" if family.type == "counter" else "")
        metric = known[name]
        assert (family.type, family.documentation) == (metric.kind, metric.says)
        for sample in family.samples:
            assert {*sample.labels} - {"le"} == {*metric.labels}
            found[sample.name, tuple(sample.labels.values())] = sample.value
    return found


def test_they_say_what_moved(cluster: Cluster, origin: FaultyRegistry) -> None:
    rng = random.Random(7)
    files = {"config.json": b"{}", "model.safetensors": rng.randbytes(24_000_000)}
    origin.add_model("org/metered", "v1", files)
    reference = f"{origin.host}/org/metered:v1"
    for pull in [cluster.pull(node, reference) for node in range(NODES)]:
        finish(pull)
    size = sum(map(len, files.values()))
    wait_until("the last bytes to be counted as sent", lambda: total_sent(cluster) >= (NODES - 1) * size)
    nodes = [scrape(address(cluster, node), TOKEN, AGENT_METRICS) for node in range(NODES)]

    read = sum(node["modeldist_agent_received_bytes_total", ("origin", "http")] for node in nodes)
    assert read == size
    taken = [node["modeldist_agent_received_bytes_total", ("peer", "tcp")] for node in nodes]
    assert sum(taken) == (NODES - 1) * size
    for node in nodes:
        assert node["modeldist_agent_connected", ()] == 1
        assert node["modeldist_agent_pulls_ended_total", ("done",)] == 1
        assert node["modeldist_agent_pulls_ended_total", ("failed",)] == 0
        assert node["modeldist_agent_pull_seconds_count", ("done",)] == 1
        assert node["modeldist_agent_shards_fetching", ()] == node["modeldist_agent_bytes_in_flight", ()] == 0
        assert node["modeldist_agent_store_artifacts", ()] == 1
        pieces = [node["modeldist_agent_pieces_total", (source,)] for source in ("origin", "peer")]
        assert sum(pieces) >= 2
    server = scrape(f"{cluster.url}/metrics", cluster.token("admin"), SERVER_METRICS)
    assert server["modeldist_server_agents", ()] == NODES
    assert server["modeldist_server_origin_bytes", ()] == server["modeldist_server_held_bytes", ()] == size
    assert {value for (name, _), value in server.items() if name == "modeldist_server_task_origin_ratio"} == {1.0}
    assert server["modeldist_server_leases", ()] == server["modeldist_server_lease_age_seconds", ()] == 0
    assert server["modeldist_server_leading", ()] == 1
    assert server["modeldist_server_excess_bytes", ()] == server["modeldist_server_lease_asks", ()] == 0
    assert server["modeldist_server_ceiling_ratio", ("sessions",)] > 0
    assert {server["modeldist_server_refused_total", (field.name,)] for field in fields(Ceilings)} == {0}


def test_reads_of_an_origin_that_fail_have_their_reason(cluster: Cluster, origin: FaultyRegistry) -> None:
    weights = random.Random(8).randbytes(3_000_000)
    origin.add_model("org/refused", "v1", {"model.safetensors": weights})
    before = scrape(address(cluster, 0), TOKEN, AGENT_METRICS)
    assert {labels[0] for name, labels in before if name == ORIGIN_FAILURES} == {
        *("not_found", "unauthorized", "access_denied", "rate_limited", "origin_unavailable", "origin_protocol"),
        *("integrity", "other"),
    }
    origin.inject(faults.forbidden(), on=hashlib.sha256(weights).hexdigest())
    try:
        assert cluster.run(0, "pull", f"{origin.host}/org/refused:v1").returncode == AccessDenied.exit_code
    finally:
        origin.heal()
    after = scrape(address(cluster, 0), TOKEN, AGENT_METRICS)
    failures = {labels: value for (name, labels), value in after.items() if name == ORIGIN_FAILURES}
    grown = {labels for labels, value in failures.items() if value > before[ORIGIN_FAILURES, labels]}
    assert grown == {("access_denied",)}


def test_names_of_nodes_may_be_anything() -> None:
    name = 'a "node"\\ of\nmine'
    (info,) = [metric for metric in AGENT_METRICS.values() if metric.name == "modeldist_agent_info"]
    for accept in ("", "application/openmetrics-text"):
        body, _ = exposition([info.at(1, "0.1.0", "n", name)], accept)
        (family,) = text_string_to_metric_families(body.decode())
        assert family.samples[0].labels["name"] == name


def total_sent(cluster: Cluster) -> float:
    return sum(
        scrape(address(cluster, node), TOKEN, AGENT_METRICS)["modeldist_agent_sent_bytes_total", ()]
        for node in range(NODES)
    )


def test_a_pull_that_fails_and_one_over_rest_are_counted(cluster: Cluster, origin: FaultyRegistry) -> None:
    before = scrape(address(cluster, 0), TOKEN, AGENT_METRICS)
    assert cluster.run(0, "pull", f"{origin.host}/org/absent:v1").returncode
    assert failed(scrape(address(cluster, 0), TOKEN, AGENT_METRICS)) == failed(before) + 1
    with httpx2.Client(headers={"Authorization": f"Bearer {cluster.token('admin')}"}, trust_env=False) as http:
        asked = {"reference": f"{origin.host}/org/absent:v1", "nodes": "all"}
        made = http.post(f"{cluster.url}/api/v1/pulls", json=asked).json()
        wait_until(
            "it to fail", lambda: http.get(f"{cluster.url}/api/v1/pulls/{made['id']}").json()["state"] == "failed"
        )
        http.get(f"{cluster.url}/nowhere")
    server = scrape(f"{cluster.url}/metrics", cluster.token("admin"), SERVER_METRICS)
    assert server["modeldist_server_pulls_ended_total", ("failed",)] == 1
    assert server["modeldist_server_pulls", ()] == 0
    assert server["modeldist_server_http_requests_total", ("POST", "/api/v1/pulls", "202")] == 1
    assert server["modeldist_server_http_requests_total", ("GET", "none", "404")] == 1
    assert not any(made["id"] in label for _, labels in server for label in labels)


def failed(samples: Samples) -> float:
    return samples["modeldist_agent_pulls_ended_total", ("failed",)]


def test_openmetrics_where_it_is_asked_for(cluster: Cluster) -> None:
    asks = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/openmetrics-text; version=1.0.0"}
    answer = httpx2.get(address(cluster, 0), headers=asks, trust_env=False)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_nobody_reads_an_agents_without_its_token(cluster: Cluster) -> None:
    url = address(cluster, 0)
    for path in ("/metrics", "/", "/v1/status", "/healthz", "//metrics"):
        for given in (None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e9"):
            headers = {} if given is None else {"Authorization": given.encode("latin-1")}
            answer = httpx2.get(url.removesuffix("/metrics") + path, headers=headers, trust_env=False)
            assert answer.status_code == 401, (path, given)
            assert "modeldist_agent" not in answer.text
    mine = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx2.get(url + "/x", headers=mine, trust_env=False).status_code == 404
    assert httpx2.post(url, headers=mine, trust_env=False).status_code == 405


def test_who_may_read_those_of_the_control_plane(cluster: Cluster) -> None:
    for kind, status in (("admin", 200), ("agent", 403)):
        headers = {"Authorization": f"Bearer {cluster.token(kind)}"}
        assert httpx2.get(f"{cluster.url}/metrics", headers=headers, trust_env=False).status_code == status


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "needs --metrics-token-file"), ("short\n", "has 5 characters"), (b"\xff" * 40, "Cannot read")],
)
def test_an_agent_without_a_good_token_does_not_start(
    cluster: Cluster, tmp_path: Path, content: object, says: str
) -> None:
    token = tmp_path / "token"
    flags = ["--metrics", "127.0.0.1:0"]
    if content is not None:
        token.write_bytes(content if isinstance(content, bytes) else str(content).encode())
        flags += ["--metrics-token-file", str(token)]
    environment = cluster.environment(0)
    del environment["MODELDIST_AGENT_METRICS_TOKEN_FILE"]
    ended = subprocess.run(
        [*MODELDIST, "agent", *flags], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert says in ended.stderr, ended.stderr


def test_the_page_has_them_all() -> None:
    """Each in a row of its own, with its labels and meaning."""
    rows = re.findall(r"(?m)^\| `(modeldist_\w+)` \| (\w+) \| (.*?) \| (.+) \|$", PAGE.read_text())
    known = AGENT_METRICS | SERVER_METRICS
    assert {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), says) for name, kind, labels, says in rows} == {
        metric.name: (metric.kind, metric.labels, metric.says) for metric in known.values()
    }
