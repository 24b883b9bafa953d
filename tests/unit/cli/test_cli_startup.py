"""Commands that must start fast do not wait for libraries they do not use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.hub import Hub
from tests.servers.oci_faults import FaultyRegistry

HEAVY = frozenset(
    (
        "asyncio",
        "cryptography",
        "fastapi",
        "httpx2",
        "huggingface_hub",
        "opentelemetry",
        "pydantic",
        "rich",
        "sqlalchemy",
        "structlog",
    )
)


PRESENT_NEEDS_NOT = frozenset(
    (
        "anyio",
        "blake3._blake3",
        "h11",
        "httpcore2",
        "httpx2",
        "modeldist.agent.engine",
        "modeldist.agent.local_client",
        "modeldist.agent.store.collector",
        "modeldist.agent.store.partial",
        "modeldist.control",
        "modeldist.scheduler.phase1",
        "modeldist.scheduler.phase2",
        "modeldist.transfer",
        "modelpack.artifact",
        "modelpack.manifest",
        "modelpack.oci.client",
        "opentelemetry",
        "structlog",
    )
)
"""What a pull of a model that is here must not wait for."""


TRACES = frozenset(
    (
        "modeldist.agent.traced",
        "modeldist.agent.traces",
        "modeldist.control.traced_core",
        "modeldist.tracing.exporting",
        "opentelemetry",
    )
)
"""What tells and sends spans."""


def imports(tmp_path: Path, *arguments: str) -> set[str]:
    """Modules that `modeldist` with these arguments imports."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    store = {"MODELDIST_STORE": str(tmp_path / "store"), "MODELDIST_SOCKET": str(tmp_path / "none.sock")}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "modeldist", *arguments],
        env={**environment, **store},
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["ls"], ["pull", "--help"]], ids=" ".join)
def test_what_is_quick_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    found = imports(tmp_path, *arguments)
    assert "click" in found
    assert not found & HEAVY


def test_a_model_that_is_here_is_found_without_an_engine(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    reference = f"file://{model}"
    first = imports(tmp_path, "pull", reference)
    assert "modeldist.agent.engine" in first  # which does the work once
    assert "structlog" not in first
    assert not first & TRACES, "nobody asked for traces"
    assert not imports(tmp_path, "pull", reference) & (HEAVY - {"asyncio"})


def test_a_present_model_of_an_open_registry_needs_no_client(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        registry.add_model("org/model", "v1", {"config.json": b"{}"})
        reference = f"{registry.host}/org/model:v1"
        assert "httpx2" in imports(tmp_path, "pull", reference)
        before = len(registry.seen())
        found = imports(tmp_path, "pull", reference)
        assert found & PRESENT_NEEDS_NOT == set()
        assert [(asked.method, asked.kind) for asked in registry.seen()[before:]] == [("HEAD", "manifests")]


def test_a_hub_that_answers_plainly_is_asked_without_its_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with Hub() as hub:
        hub.commit("org/model", {"config.json": b"{}", "model.safetensors": b"w" * 1000})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for methods in (["GET"] * 3, ["HEAD"]):
            before = len(hub.requests)
            assert "huggingface_hub" not in imports(tmp_path, "pull", "hf://org/model")
            assert [request.method for request in hub.requests[before:]] == methods
