"""The values that docs/deploy.md has a reader begin with render, by the schema of the chart."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.helm import ROOT, rendered, workload
from tests.documentation import page

PAGE = ROOT / "docs" / "deploy.md"


def test_they_render(tmp_path: Path) -> None:
    (block,) = (block for block in page.blocks(PAGE.read_text()) if block.language == "yaml")
    values = tmp_path / "values.yaml"
    values.write_text(block.text)
    agent = workload(rendered(values), "agent")
    spec = agent["spec"]["template"]["spec"]
    assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert spec["containers"][0]["image"].startswith("registry.example/modeldist-agent:")
