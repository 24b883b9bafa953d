"""Helm, by which the chart is rendered: that of the PATH, or the one that deploy/setup/helm.sh has put into .cache."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "chart" / "modeldist"
VALUE_SETS = sorted((ROOT / "deploy" / "chart" / "ci").glob("*.yaml"))
RELEASE, NAMESPACE = "modeldist", "models"
_CACHED = ROOT / ".cache" / "helm" / "helm"

Document = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("helm") or (str(_CACHED) if _CACHED.exists() else None)
    if program is None:
        pytest.skip("helm is not here (deploy/setup/helm.sh puts it into .cache/helm)")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


def template(*arguments: str) -> subprocess.CompletedProcess[str]:
    return helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *arguments)


@cache
def rendered(values: Path, *more: str) -> tuple[Document, ...]:
    """The manifests of one value set; `more`: `--set` and its like."""
    done = template("--values", str(values), *more)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def of_kind(documents: Sequence[Document], kind: str, part: str = "") -> list[Document]:
    return [each for each in documents if each["kind"] == kind and each["metadata"]["name"].endswith(part)]


def workload(documents: Sequence[Document], part: str) -> Document:
    """The Deployment of the control plane, or the DaemonSet of the agents."""
    (found,) = of_kind(documents, "Deployment" if part == "control" else "DaemonSet")
    return found
