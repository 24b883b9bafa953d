"""A real Prometheus that scrapes a real cluster as docs/metrics.md has it, while models are pulled: every metric is
there, every expression of dashboard, rules and page has an answer, and no alert fires for what is as it should be."""

from __future__ import annotations

import math
import random
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modeldist.agent.metrics import AGENT_METRICS
from modeldist.control.metrics.names import SERVER_METRICS
from tests.operations import observability as given
from tests.servers.cluster import Cluster, finish, wait_until
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.prometheus import Prometheus, program

NODES = 3
TOKEN = "a-token-that-nobody-guesses"
SIZE = 72 << 20  # bytes; more than what a rate is taken of
OF_THE_MACHINE = {"ModeldistDiskFull"}  # it may be, where this runs
PATIENCE = 120.0  # seconds, for what a busy machine is slow with


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("operations")
    (home / "metrics.token").write_text(f"{TOKEN}\n")
    environment = {
        "MODELDIST_AGENT_METRICS": "127.0.0.1:0",
        "MODELDIST_AGENT_METRICS_TOKEN_FILE": str(home / "metrics.token"),
    }
    with Cluster(home / "cluster", NODES, environment=environment) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Which has seen the cluster before and after it pulled."""
    with Prometheus(tmp_path_factory.mktemp("prometheus"), configured(cluster)) as running:
        targets = [cluster.server, *cluster.agents]
        wait_until("all to be scraped", lambda: up(running) == len(targets), seconds=PATIENCE)
        pull_everywhere(cluster)
        wait_until("the pulls to be scraped", lambda: running.value(DONE) == 2 * NODES, seconds=PATIENCE)
        wait_until("all of what they sent", lambda: (running.value(SENT) or 0) >= (NODES - 1) * SIZE, seconds=PATIENCE)
        wait_until("the pull over REST", lambda: running.value(OVER_REST) == 1, seconds=PATIENCE)
        wait_until("the rules", lambda: given.recorded() <= running.names(), seconds=PATIENCE)
        yield running


OVER_REST = 'sum(modeldist_server_pulls_ended_total{state="done"})'
DONE = 'sum(modeldist_agent_pulls_ended_total{state="done"})'
SENT = "sum(modeldist_agent_sent_bytes_total)"


def up(prometheus: Prometheus) -> float:
    return prometheus.value("sum(up)") or 0


def configured(cluster: Cluster) -> dict[str, Any]:
    """As the page has it, but for where things are, and without TLS on loopback."""
    config = given.scrape_configs()
    server, agent = config["scrape_configs"]
    server["scheme"] = "http"
    server["static_configs"] = [{"targets": [cluster.url.removeprefix("http://")]}]
    token = cluster.home / "modeldist-read.token"
    made = cluster.run(
        0, "token", "create", "prometheus", "--scope", "read", "--state-dir", str(cluster.home / "control")
    )
    assert made.returncode == 0, made.stderr
    token.write_text(made.stdout)
    server["authorization"]["credentials_file"] = str(token)
    addresses = [re.findall(r"http://(127\.0\.0\.1:\d+)/metrics", each.log)[-1] for each in cluster.agents]
    agent["static_configs"] = [{"targets": addresses}]
    agent["authorization"]["credentials_file"] = str(cluster.home.parent / "metrics.token")
    config["rule_files"] = [str(given.RULES)]
    return config


def pull_everywhere(cluster: Cluster) -> None:
    """A large model by commands, a small one over REST."""
    rng = random.Random(9)
    with FaultyRegistry() as origin:
        origin.add_model("org/large", "v1", {"config.json": b"{}", "model.safetensors": rng.randbytes(SIZE)})
        origin.add_model("org/small", "v1", {"config.json": b"{ }"})
        for pull in [cluster.pull(node, f"{origin.host}/org/large:v1") for node in range(NODES)]:
            finish(pull)
        with httpx2.Client(
            base_url=cluster.url, headers={"Authorization": f"Bearer {cluster.token('admin')}"}, trust_env=False
        ) as http:
            asked = {"reference": f"{origin.host}/org/small:v1", "nodes": "all"}
            made = http.post("/api/v1/pulls", json=asked).json()
            wait_until(
                "it to be done",
                lambda: http.get(f"/api/v1/pulls/{made['id']}").json()["state"] == "done",
                seconds=PATIENCE,
            )


def test_every_metric_is_there(prometheus: Prometheus) -> None:
    there = {given.base(name) for name in prometheus.names()}
    assert set(AGENT_METRICS) | set(SERVER_METRICS) <= there


@pytest.mark.parametrize("job", ["modeldist-server", "modeldist-agent"])
def test_promtool_finds_no_fault_with_them(cluster: Cluster, prometheus: Prometheus, job: str) -> None:
    url = next(target["scrapeUrl"] for target in prometheus.targets() if target["labels"]["job"] == job)
    token = cluster.token("admin") if job == "modeldist-server" else TOKEN
    told = httpx2.get(url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=told.text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("where", [given.RULES, given.DASHBOARD, given.PAGE], ids=lambda path: path.name)
def test_everything_that_is_named_is_there(prometheus: Prometheus, where: Path) -> None:
    there = prometheus.names()
    series = there | {given.base(name) for name in there}
    assert given.named_in(where.read_text()) <= series


def numbers(prometheus: Prometheus, expression: str) -> bool:
    """Whether it comes to any."""
    values = [float(sample["value"][1]) for sample in prometheus.query(expression)]
    return any(not math.isnan(value) for value in values)


def test_every_expression_of_the_dashboard_has_an_answer(prometheus: Prometheus) -> None:
    for expression in given.expressions():
        wait_until(f"an answer to {expression}", partial(numbers, prometheus, expression), seconds=PATIENCE)


def test_what_the_dashboard_says_is_so(prometheus: Prometheus) -> None:
    assert prometheus.value("sum(modeldist_server_leading)") == 1
    assert prometheus.value("sum(modeldist_server_agents)") == NODES
    assert prometheus.value("max(modeldist_server_task_origin_ratio)") == 1
    assert prometheus.value("sum(modeldist_server_excess_bytes)") == 0
    assert prometheus.value("sum(modeldist_agent_pull_bytes_per_second_count)") == NODES
    share = pytest.approx((NODES - 1) / NODES, abs=0.05)
    # Recorded every few seconds, and agents are looked at one after the other: until all tell that their pulls ended.
    wait_until(
        "the share of peers", lambda: prometheus.value("modeldist:peer_share:ratio_rate5m") == share, seconds=PATIENCE
    )


def test_every_question_of_the_page_can_be_asked(prometheus: Prometheus) -> None:
    assert len(given.questions()) > 4
    for expression in given.questions():
        prometheus.query(expression)


def test_the_variables_of_the_dashboard_have_values(prometheus: Prometheus) -> None:
    assert len(prometheus.query("count by (instance) (modeldist_agent_info)")) == NODES


def test_rules_work_and_no_alert_fires(prometheus: Prometheus) -> None:
    def active() -> set[str]:
        alerts = [rule for rule in prometheus.rules() if rule["type"] == "alerting"]
        return {rule["name"] for rule in alerts if rule["state"] != "inactive"} - OF_THE_MACHINE

    for rule in prometheus.rules():
        assert rule["health"] == "ok", rule
    wait_until("all alerts to be inactive", lambda: not active(), seconds=PATIENCE)


def test_an_alert_is_pending_when_the_control_plane_is_gone(cluster: Cluster, prometheus: Prometheus) -> None:
    """The last test of this file: what comes after has no control plane."""
    cluster.server.kill()

    def pending() -> set[str]:
        return {
            rule["name"] for rule in prometheus.rules() if rule["type"] == "alerting" and rule["state"] == "pending"
        }

    wait_until(
        "the alerts", lambda: {"ModeldistNoControlPlane", "ModeldistAgentDisconnected"} <= pending(), seconds=PATIENCE
    )
