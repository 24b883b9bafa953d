"""The values that docs/deploy.md has a reader begin with render, by the schema of the chart; what docs/rdma.md says
that a pod needs is what the chart gives it."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import yaml

from tests.deploy.helm import ROOT, VALUE_SETS, rendered, workload
from tests.documentation import page

PAGE = ROOT / "docs" / "deploy.md"
RDMA = ROOT / "docs" / "rdma.md"


def test_they_render(tmp_path: Path) -> None:
    (block,) = (block for block in page.blocks(PAGE.read_text()) if block.language == "yaml")
    values = tmp_path / "values.yaml"
    values.write_text(block.text)
    agent = workload(rendered(values), "agent")
    spec = agent["spec"]["template"]["spec"]
    assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert spec["containers"][0]["image"].startswith("registry.example/modeldist-agent:")


def test_a_pod_with_a_card() -> None:
    (block,) = (block for block in page.blocks(RDMA.read_text()) if block.language == "yaml")
    shown = yaml.safe_load(block.text)
    spec = shown["spec"]
    (container,) = spec["containers"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shown"}, **shown}
    container["image"] = "registry.example/modeldist-agent-rdma:0.1.0"
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    ((resource, count),) = container["resources"]["limits"].items()
    values = next(path for path in VALUE_SETS if path.stem == "rdma")
    agent = workload(rendered(values, "--set", f"agent.rdma.resource={resource}"), "agent")["spec"]["template"]["spec"]
    (ours,) = agent["containers"]
    assert agent["hostNetwork"] == spec["hostNetwork"]
    assert ours["securityContext"]["capabilities"]["add"] == container["securityContext"]["capabilities"]["add"]
    assert ours["resources"]["limits"][resource] == count
