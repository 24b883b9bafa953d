"""The examples are what Kubernetes knows, and what they say of us is what the chart and the program have."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from modeldist.agent.engine_environment import engine_environment, hub_of
from modeldist.agent.settings import AgentSettings
from tests.deploy import told
from tests.deploy.helm import CHART, ROOT
from tests.deploy.images import IMAGES

EXAMPLES = ROOT / "deploy" / "examples"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
MANIFESTS = sorted((EXAMPLES / "kubernetes").glob("*.yaml"))
KSERVE = EXAMPLES / "kserve" / "inferenceservice.yaml"
GATEWAY = f"127.0.0.1:{VALUES['agent']['gateway']['port']}"


def pod_of(document: dict[str, Any]) -> dict[str, Any]:
    """What KServe makes a pod of, with its own fields taken out, or a pod's spec."""
    if document["kind"] != "InferenceService":
        pod: dict[str, Any] = document["spec"]["template"]["spec"]
        return pod
    assert document["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"
    return {key: value for key, value in document["spec"]["predictor"].items() if key != "minReplicas"}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_kubernetes_knows_them(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_kserve_s_is_a_pod_beneath() -> None:
    """Its own schema is not to be had here; what it hands on is a pod."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "model"}, "spec": pod_of(_read(KSERVE))}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("path", [*MANIFESTS, KSERVE], ids=lambda path: path.stem)
def test_commands_of_ours_are_commands_of_the_program(path: Path) -> None:
    pod = pod_of(_read(path))
    assert pod["enableServiceLinks"] is False
    ours = [each for each in (*pod.get("initContainers", ()), *pod["containers"]) if "modeldist" in each["image"]]
    assert ours
    for each in ours:
        assert each["image"] == f"modeldist-agent:{IMAGES['agent'].version}"
        params = told.check_command([*each["command"], *each["args"]]).params
        told.check_names({variable["name"]: variable["value"] for variable in each["env"]})
        mounts = [mount["mountPath"] for mount in each["volumeMounts"]]
        if "here" in params or "socket" in params:
            assert str(params["socket"]) == f"{VALUES['agent']['socket']['hostPath']}/agent.sock"
            assert VALUES["agent"]["socket"]["hostPath"] in mounts
            assert pod["securityContext"]["runAsUser"] == VALUES["agent"]["securityContext"]["runAsUser"]


@pytest.mark.parametrize("path", [EXAMPLES / "kubernetes" / "vllm.yaml", KSERVE], ids=lambda path: path.stem)
def test_the_engine_looks_where_the_agent_puts_models(path: Path) -> None:
    pod = pod_of(_read(path))
    store = Path(VALUES["agent"]["store"]["hostPath"])
    hub = AgentSettings(store=store).hub or store / "hub"
    wanted = engine_environment(hub, None, offline=True)
    (engine,) = pod["containers"]
    told_it = {variable["name"]: variable["value"] for variable in engine["env"]}
    assert wanted.items() <= told_it.items()
    assert {"name": "models", "mountPath": str(store), "readOnly": True} in engine["volumeMounts"]
    hosts = {volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    assert hosts == {str(store), VALUES["agent"]["socket"]["hostPath"]}
    assert hub_of(hub / "models--org--model" / "snapshots" / ("0" * 40)) == hub
    assert "--model=org/model" in engine["args"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("containerd/certs.d/*/hosts.toml")), ids=lambda p: p.parent.name)
def test_containerd_asks_the_gateway_first(path: Path) -> None:
    hosts = tomllib.loads(path.read_text())
    assert hosts["server"].startswith("https://")
    assert hosts["host"] == {f"http://{GATEWAY}": {"capabilities": ["pull", "resolve"]}}
    config = tomllib.loads((EXAMPLES / "containerd" / "config.toml").read_text())
    (table,) = config["plugins"].values()
    assert path.is_relative_to(EXAMPLES / "containerd" / Path(table["registry"]["config_path"]).name)


def test_cri_o_asks_the_gateway_first() -> None:
    for registry in tomllib.loads((EXAMPLES / "crio" / "50-modeldist.conf").read_text())["registry"]:
        assert registry["mirror"] == [{"location": f"{GATEWAY}/{registry['location']}", "insecure": True}]


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document
