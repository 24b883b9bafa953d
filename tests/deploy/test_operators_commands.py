"""What stands in for docker, helm and kubectl refuses a wrong page."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.deploy.helm import ROOT, VALUE_SETS
from tests.deploy.operators_commands import Objects, docker, helmed, kubectl

BUILD = "build -f deploy/images/Dockerfile --target {} -t registry.example/{} {}"
COMPOSE = "compose -f deploy/compose/{}"
SECRET = "-n models create secret generic token {}"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster with one namespace."""
    monkeypatch.chdir(ROOT)
    kubectl(["create", "namespace", "models"], tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (BUILD.format("controls", "modeldist-control:0.1.0", "."), ""),
        (BUILD.format("control", "modeldist-agent:0.1.0", "."), "called otherwise"),
        (BUILD.format("control", "modeldist-control:0.2.0", "."), "called otherwise"),
        (BUILD.format("control", "modeldist-control:0.1.0", "docs"), "not found in docs"),
        (BUILD.format("control", "modeldist-control:0.1.0", ".").replace("Dockerfile", "Dockerfiles"), "is not"),
        (COMPOSE.format("compose.yaml up --build"), ""),
        (COMPOSE.format("composed/compose.yaml up --build --detach"), "not found"),
        (COMPOSE.format("compose.yaml exec agent modeldist status"), "is not running"),
    ],
)
def test_docker(state: Path, words: str, says: str) -> None:
    with pytest.raises(SystemExit) as refused:
        docker(words.split(), state)
    assert refused.value.code
    assert says in str(refused.value.code)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("create namespace Models", "'Models' is no name"),
        ("label namespace model pod-security.kubernetes.io/enforce=privileged", "'model' not found"),
        ("label namespace models pod-security.kubernetes.io/enforce=none", "no level"),
        ("-n models exec deploy/modeldist-control -- modeldist status", "'modeldist-control' not found"),
        (SECRET.format("--from-literal=token=secret"), "standard input"),
        (SECRET.format("--from-file=token=/dev/stdin"), "nothing came"),
    ],
)
def test_kubectl(state: Path, words: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    before = Objects(state).all
    with pytest.raises(SystemExit) as refused:
        kubectl(words.split(), state)
    assert says in str(refused.value)
    assert Objects(state).all == before


def test_helm(state: Path) -> None:
    values = f"-f {VALUE_SETS[0]}"
    for words, says in (
        (f"install modeldist deploy/chart/modeldist -n nowhere {values}", "'nowhere' not found"),
        (f"install modeldist deploy/charts/modeldist -n models {values}", "not found"),
        ("install modeldist deploy/chart/modeldist -n models", "in the clear"),
    ):
        with pytest.raises(SystemExit) as refused:
            helmed(words.split(), state)
        assert says in str(refused.value.code)
    helmed(f"install modeldist deploy/chart/modeldist -n models {values}".split(), state)
    assert len(Objects(state).all) > 3
