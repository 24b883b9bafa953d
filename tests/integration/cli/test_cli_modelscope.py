"""Models of ModelScope at a shell: pulled, looked at, built from, and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack.layout import OciLayout
from tests.servers.modelscope import ModelScope
from tests.servers.registry import Registry
from tests.servers.shell import Shell

FILES = {
    "config.json": b'{"model_type": "toy"}',
    "empty.txt": b"",
    "sub/weights.bin": bytes(range(256)) * 3000,
    "README.md": b"# toy\n",
}
MODEL = "modelscope://org/model"


@pytest.fixture
def hub(shell: Shell) -> Iterator[ModelScope]:
    with ModelScope(cdn=True) as made:
        made.commit("org/model", FILES)
        shell.environment |= {"MODELSCOPE_ENDPOINT": made.url, "MODELSCOPE_API_TOKEN": ""}
        yield made


def files_in(snapshot: Path) -> dict[str, bytes]:
    return {str(path.relative_to(snapshot)): path.read_bytes() for path in snapshot.rglob("*") if path.is_file()}


def test_pulled_once_and_again_when_it_moved(shell: Shell, hub: ModelScope) -> None:
    first = shell.pull(MODEL)
    assert files_in(first) == FILES
    moved = len(hub.asked("FilePath="))
    assert shell.pull(f"{MODEL}@master") == first
    assert len(hub.asked("FilePath=")) == moved
    hub.commit("org/model", {**FILES, "config.json": b"{}"})
    second = shell.pull(MODEL)
    assert second != first
    assert files_in(second) == {**FILES, "config.json": b"{}"}
    assert len(hub.asked("FilePath=")) == moved + 1
    assert set(files_in(shell.pull(MODEL, "--only", "*.json"))) == {"config.json"}
    assert MODEL in shell.run("ls").stdout
    assert shell.run("verify", MODEL).returncode == 0


def test_looked_at_without_its_weights(shell: Shell, hub: ModelScope) -> None:
    planned = shell.run("plan", "--json", MODEL)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["needed"] == sum(map(len, FILES.values()))
    assert "sub/weights.bin" in shell.run("inspect", MODEL).stdout
    linted = shell.run("lint", "--json", "--fail-on", "never", MODEL)
    assert linted.returncode == 0, linted.stderr
    assert hub.cdn is not None and hub.cdn.body_bytes() < 100_000


def test_built_pushed_and_pulled(shell: Shell, hub: ModelScope, registry: Registry, tmp_path: Path) -> None:
    reference = f"{registry.host}/org/from-modelscope:v1"
    done = shell.run("build", MODEL, "-t", reference)
    assert done.returncode == 0, done.stderr
    layout = OciLayout.open(shell.store / "layout")
    config = json.loads(layout.blobs.read(layout.manifest(reference)[1].config))
    assert (config["descriptor"]["sourceURL"], config["descriptor"]["revision"]) == (MODEL, "master")
    assert shell.run("push", reference).returncode == 0
    assert files_in(shell.pull(reference)) == FILES
    page = f"{hub.url}/models/org/model/summary?version=master"
    made = shell.run("modelfile", "generate", "--model-url", page, "-p", "modelscope", "-O", str(tmp_path / "written"))
    assert made.returncode == 0, made.stderr
    assert "NAME model\n" in (tmp_path / "written" / "Modelfile").read_text()


def test_what_is_refused(shell: Shell, hub: ModelScope) -> None:
    assert "modelscope://org/none" in shell.fails(4, "pull", "--quiet", "modelscope://org/none")
    assert "@v9" in shell.fails(4, "pull", "--quiet", f"{MODEL}@v9")
    assert "modelscope://org/model@revision" in shell.fails(2, "pull", "--quiet", "modelscope://model")
    hub.tweaks["sub/weights.bin"] = {"Sha256": "0" * 64}
    assert "sub/weights.bin" in shell.fails(10, "pull", "--quiet", MODEL)
    hub.tweaks["sub/weights.bin"] = {"Path": "../weights.bin"}
    assert "../weights.bin" in shell.fails(11, "build", "--quiet", MODEL)
    hub.tweaks.clear()
    hub.restrict("org/model", {"good"})
    assert "MODELSCOPE_API_TOKEN" in shell.fails(6, "pull", "--quiet", MODEL)
    shell.environment["MODELSCOPE_API_TOKEN"] = "good"
    assert files_in(shell.pull(MODEL)) == FILES
