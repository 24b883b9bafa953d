"""The chart renders, and what it renders is what Kubernetes knows and asks no more than it needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import modeldist
from modeldist.agent.metrics.endpoint import PATH
from modeldist.control.api.authentication import OPEN_PATHS
from modeldist.control.app import create_app
from modeldist.control.settings import DEFAULT_PORT, ServerSettings
from tests.deploy.helm import CHART, ROOT, VALUE_SETS, Document, helm, of_kind, rendered, template, workload
from tests.security.house import all_routes

MINIMAL = ROOT / "deploy" / "chart" / "ci" / "minimal-sqlite.yaml"
CUSTOM = {"monitoring.coreos.com/v1", "cert-manager.io/v1"}  # of operators: Kubernetes has no schema of them
KNOWN_ADDED = {"own-directories": {"CHOWN", "DAC_OVERRIDE", "FOWNER"}, "agent": {"IPC_LOCK"}}
TLS = ("--set", "controlPlane.tls.secretName=tls")

value_sets = pytest.mark.parametrize("values", VALUE_SETS, ids=lambda path: path.stem)


def pods(documents: tuple[Document, ...]) -> Iterator[dict[str, Any]]:
    for document in documents:
        if document["kind"] in ("Deployment", "DaemonSet"):
            yield document["spec"]["template"]["spec"]


def test_there_are_six_value_sets() -> None:
    assert len(VALUE_SETS) == 6


@value_sets
def test_lint(values: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", str(values))
    assert done.returncode == 0, done.stdout + done.stderr


@value_sets
def test_every_manifest_is_one_that_kubernetes_knows(values: Path) -> None:
    documents = rendered(values)
    assert {"Deployment", "DaemonSet", "Service", "ServiceAccount"} <= {each["kind"] for each in documents}
    for document in documents:
        if document["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    named = [(each["kind"], each["metadata"]["name"]) for each in documents]
    assert len(named) == len(set(named))


@value_sets
def test_pods_may_do_no_more_than_they_need(values: Path) -> None:
    for pod in pods(rendered(values)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False  # they would be taken for settings
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            asked = container["securityContext"]
            assert asked["allowPrivilegeEscalation"] is False
            assert asked["readOnlyRootFilesystem"] is True
            assert asked["capabilities"]["drop"] == ["ALL"]
            added = set(asked["capabilities"].get("add", ()))
            assert added <= KNOWN_ADDED.get(container["name"], set())
            user = asked.get("runAsUser", pod["securityContext"]["runAsUser"])
            assert user != 0 or added, "root for nothing"
            assert not added or user == 0, "capabilities that a user other than root would not have"


@value_sets
def test_secrets_are_in_no_arguments(values: Path) -> None:
    for pod in pods(rendered(values)):
        for container in pod["containers"]:
            for word in container["args"]:
                assert not word.startswith(("--token=", "--database-url")), word
            for variable in container["env"]:
                if variable["name"].endswith(("TOKEN", "DATABASE_URL")):
                    assert "secretKeyRef" in variable["valueFrom"]


def test_only_where_memory_must_be_locked_is_the_agent_root() -> None:
    users = {values.stem: _user(values) for values in VALUE_SETS}
    assert users.pop("rdma") == (0, ["IPC_LOCK"])
    assert set(map(str, users.values())) == {str((17420, []))}


def _user(values: Path) -> tuple[int, list[str]]:
    pod = workload(rendered(values), "agent")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod["securityContext"]["runAsUser"], container["securityContext"]["capabilities"].get("add", [])


def test_rdma_asks_for_its_device() -> None:
    pod = workload(rendered(MINIMAL.with_name("rdma.yaml")), "agent")["spec"]["template"]["spec"]
    resources = pod["containers"][0]["resources"]
    assert resources["limits"] == {"rdma/hca_shared_devices_a": 1, "memory": "4Gi"}
    assert resources["requests"] == {"rdma/hca_shared_devices_a": 1, "memory": "1Gi", "cpu": "2"}
    assert pod["hostNetwork"] is True


@value_sets
def test_what_waits_for_pods_selects_them(values: Path) -> None:
    documents = rendered(values)
    templates = {part: workload(documents, part)["spec"]["template"] for part in ("control", "agent")}
    labels = {part: template["metadata"]["labels"].items() for part, template in templates.items()}
    for document in documents:
        part = document["metadata"]["labels"]["app.kubernetes.io/component"]
        found = {
            "Service": lambda spec: spec["selector"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "Deployment": lambda spec: spec["selector"]["matchLabels"],
            "DaemonSet": lambda spec: spec["selector"]["matchLabels"],
            "PodMonitor": lambda spec: spec["selector"]["matchLabels"],
        }.get(document["kind"])
        if found:
            selector = found(document["spec"]).items()
            assert selector <= labels[part]
            assert not selector <= labels["agent" if part == "control" else "control"]


def of_namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def test_policies_let_agents_through_and_only_named_clients() -> None:
    documents = rendered(MINIMAL.with_name("locked-down.yaml"))
    control, agent = of_kind(documents, "NetworkPolicy", "-control"), of_kind(documents, "NetworkPolicy", "-agent")
    assert len(control) == len(agent) == 1
    (inward,) = control[0]["spec"]["ingress"]
    assert inward["ports"] == [{"port": "control", "protocol": "TCP"}]
    assert inward["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "agent"
    assert inward["from"][1:] == [of_namespace("monitoring"), of_namespace("platform")]
    pieces, metrics = agent[0]["spec"]["ingress"]
    assert [*pieces["from"][0]["podSelector"]["matchLabels"].values()][-1] == "agent"
    assert metrics == {"ports": [{"port": "metrics", "protocol": "TCP"}], "from": [of_namespace("monitoring")]}
    outward = {rule["ports"][0]["port"] for rule in agent[0]["spec"]["egress"]}
    assert outward == {7421, DEFAULT_PORT, 53, 443}


def test_there_is_no_policy_for_pods_on_the_network_of_their_node() -> None:
    (policy,) = of_kind(rendered(MINIMAL.with_name("everything.yaml")), "NetworkPolicy")
    assert policy["metadata"]["name"].endswith("-control")
    assert {"ipBlock": {"cidr": "10.0.0.0/16"}} in policy["spec"]["ingress"][0]["from"]


def test_one_on_sqlite_is_gone_before_the_next_comes() -> None:
    assert workload(rendered(MINIMAL), "control")["spec"]["strategy"] == {"type": "Recreate"}
    (claim,) = of_kind(rendered(MINIMAL), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize(
    ("values", "path", "budget"),
    [("postgresql-replicas", "/readyz", {"minAvailable": 1}), ("everything", "/healthz", {"maxUnavailable": 1})],
)
def test_what_ready_means_among_several(values: str, path: str, budget: dict[str, int]) -> None:
    documents = rendered(MINIMAL.with_name(f"{values}.yaml"))
    deployment = workload(documents, "control")
    assert deployment["spec"]["replicas"] > 1
    assert deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == path
    (found,) = of_kind(documents, "PodDisruptionBudget")
    assert budget.items() <= found["spec"].items()
    assert found["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@cache
def _routes() -> set[str]:
    return {str(getattr(route, "path", "")) for route in all_routes(create_app(ServerSettings()).routes)}


@value_sets
def test_probes_ask_routes_that_need_no_token(values: Path) -> None:
    (container,) = workload(rendered(values), "control")["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in OPEN_PATHS & _routes()
        assert asked["scheme"] == ("HTTPS" if any("--tls-cert=" in word for word in container["args"]) else "HTTP")


def test_prometheus_is_led_to_the_metrics_of_the_control_plane() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["metrics"]["serviceMonitor"]["path"] in _routes()
    (monitor,) = of_kind(rendered(MINIMAL.with_name("locked-down.yaml")), "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["authorization"]["credentials"]["name"] == "prometheus-token"
    assert endpoint["tlsConfig"]["serverName"] == "modeldist-control.models.svc"


@pytest.mark.parametrize(
    ("name", "secret", "key"), [("locked-down", "scrapes", "token"), ("everything", "scrapes", "bearer")]
)
def test_prometheus_is_led_to_the_metrics_of_agents(name: str, secret: str, key: str) -> None:
    documents = rendered(MINIMAL.with_name(f"{name}.yaml"))
    (monitor,) = of_kind(documents, "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    pod = workload(documents, "agent")["spec"]["template"]["spec"]
    assert endpoint["port"] in {port["name"] for port in pod["containers"][0]["ports"]}
    assert endpoint["path"] == PATH
    assert endpoint["authorization"] == {"credentials": {"name": secret, "key": key}}
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "metrics-token"]
    assert volume["secret"]["secretName"] == secret
    assert volume["secret"]["items"] == [{"key": key, "path": "token"}]


@pytest.mark.parametrize(
    ("name", "labels"), [("locked-down", {"grafana_dashboard": "1"}), ("everything", {"grafana": "models"})]
)
def test_rules_and_dashboard_are_the_files_of_the_chart(name: str, labels: dict[str, str]) -> None:
    documents = rendered(MINIMAL.with_name(f"{name}.yaml"))
    (rule,) = of_kind(documents, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "observability" / "rules.yaml").read_text())
    (dashboard,) = of_kind(documents, "ConfigMap", "-dashboard")
    assert labels.items() <= dashboard["metadata"]["labels"].items()
    assert json.loads(dashboard["data"]["modeldist.json"]) == json.loads(
        (CHART / "observability" / "dashboard.json").read_text()
    )


def test_nothing_of_prometheus_or_grafana_is_there_unless_it_is_asked_for() -> None:
    kinds = {each["kind"] for each in rendered(MINIMAL)}
    assert not kinds & {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"}


def test_versions() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == modeldist.__version__


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Tokens would cross the network in the clear"),
        ((*TLS, "--set", "controlPlane.replicas=2"), "SQLite has room for one control plane"),
        ((*TLS, "--set", "controlPlane.database.kind=postgresql"), "name the Secret that holds its URL"),
        ((*TLS, "--set", "controlPlane.tls.allowPlainHttp=true"), "allowPlainHttp is set beside a certificate"),
        ((*TLS, "--set", "agent.gateway.enabled=true"), "only agent.hostNetwork: true"),
        ((*TLS, "--set", "agent.gateway.mirror={docker.io}"), "set agent.gateway.enabled"),
        (("--set", "controlPlane.enabled=false"), "the agents need agent.controlUrl"),
        ((*TLS, "--set", "trustedCA.secretName=a,trustedCA.configMapName=b"), "leave one of them out"),
        ((*TLS, "--set", "networkPolicy.enabled=true,agent.hostNetwork=true"), "networkPolicy.nodes"),
        ((*TLS, "--set", "metrics.serviceMonitor.enabled=true"), "a token"),
        ((*TLS, "--set", "agent.metrics.enabled=true"), "agent.metrics.token.secretName"),
        ((*TLS, "--set", "metrics.podMonitor.enabled=true"), "set agent.metrics.enabled"),
        (
            (*TLS, "--set", "networkPolicy.enabled=true,agent.metrics.enabled=true,agent.metrics.token.secretName=a"),
            "networkPolicy.monitoring",
        ),
        ((*TLS, "--set", "controlPlane.pieceTls=require"), "agent.join.hostPath"),
        ((*TLS, "--set", "metrics.serviceMonitor.path="), "/metrics/serviceMonitor/path"),
        ((*TLS, "--set", "agent.gatway.enabled=true"), "gatway"),
        ((*TLS, "--set", "agent.port=70000"), "/agent/port"),
        ((*TLS, "--set", "agent.uploadRate=fast"), "uploadRate"),
        ((*TLS, "--set", "agent.extraArgs={--token=secret}"), "extraArgs"),
        ((*TLS, "--set", "agent.extraEnv[0].name=HF_TOKEN,agent.extraEnv[0].value=secret"), "extraEnv"),
        ((*TLS, "--set", "agent.store.hostPath=models"), "hostPath"),
        ((*TLS, "--set", "agent.securityContext.runAsUser=0"), "runAsUser"),
    ],
    ids=lambda given: None if isinstance(given, str) else " ".join(given[-1:]) or "nothing",
)
def test_refusals(arguments: tuple[str, ...], sentence: str) -> None:
    done = template(*arguments)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_notes_say_how_the_agents_get_their_token() -> None:
    done = helm("install", "modeldist", str(CHART), "-n", "models", "--dry-run=client", "--values", str(MINIMAL))
    assert done.returncode == 0, done.stderr
    assert "exec deploy/modeldist-control -- modeldist token create agents --scope agent" in done.stdout
    assert "create secret generic modeldist-agent-token --from-file=token=/dev/stdin" in done.stdout
