"""`modeldist build` from Modelfiles, Kitfiles and a hub, and `modeldist modelfile generate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelpack.layout import OciLayout
from modelpack.mediatypes import FILEPATH
from modelpack.verify import verify_layout
from tests.servers.hub import Hub
from tests.servers.registry import Registry
from tests.servers.shell import Shell
from tests.servers.signed_models import policy

FILES = {"config.json": b'{"model_type": "toy"}', "weights.bin": bytes(range(256)) * 300, "README.md": b"# toy\n"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    for name, content in FILES.items():
        (tmp_path / "model" / name).write_bytes(content)
    return tmp_path / "model"


def built(shell: Shell, *arguments: str) -> dict[str, object]:
    done = shell.run("build", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def types(layout: Path) -> dict[str, str]:
    _, manifest = OciLayout.open(layout).manifest()
    return {layer.annotations[FILEPATH]: layer.media_type.partition(".model.")[2] for layer in manifest.layers}


def test_generated_looked_over_and_built(shell: Shell, model: Path, tmp_path: Path) -> None:
    made = shell.run("modelfile", "generate", str(model), "--name", "mine", "--json")
    assert made.returncode == 0, made.stderr
    path = Path(json.loads(made.stdout)["path"])
    assert path == model / "Modelfile"
    assert "NAME mine\n" in path.read_text()
    assert "--overwrite" in shell.fails(2, "modelfile", "generate", str(model))
    assert shell.run("modelfile", "generate", str(model), "--overwrite", "--exclude", "*.md").returncode == 0
    built(shell, str(model), "-f", "Modelfile", "-o", str(tmp_path / "layout"), "--encoding", "weight=tar+gzip")
    assert types(tmp_path / "layout") == {"config.json": "weight.config.v1.raw", "weights.bin": "weight.v1.tar+gzip"}
    verify_layout(OciLayout.open(tmp_path / "layout"))


def test_a_kitfile_is_read_by_its_name(shell: Shell, model: Path, tmp_path: Path) -> None:
    (model / "Kitfile").write_text("manifestVersion: 1.0.0\nmodel: {path: weights.bin}\ndocs: [{path: README.md}]\n")
    built(shell, str(model), "-f", str(model / "Kitfile"), "-o", str(tmp_path / "layout"))
    assert types(tmp_path / "layout") == {"README.md": "doc.v1.raw", "weights.bin": "weight.v1.raw"}


def test_what_is_wrong_is_said(shell: Shell, model: Path, tmp_path: Path) -> None:
    (model / "Modelfile").write_text("NAME a\nFROM llama\n")
    assert "Modelfile, line 2 begins with 'FROM'" in shell.fails(2, "build", str(model), "-f", "Modelfile")
    assert "modelfile generate" in shell.fails(4, "build", str(model), "-f", "Other")
    assert "tar+zip" in shell.fails(2, "build", str(model), "--encoding", "weight=tar+zip")
    assert "modelscope://org/name" in shell.fails(2, "build", "models://org/model")


def test_a_model_of_a_hub_is_built_pushed_and_pulled(shell: Shell, registry: Registry, tmp_path: Path) -> None:
    with Hub() as hub:
        commit = hub.commit("org/model", FILES)
        shell.environment["HF_ENDPOINT"] = hub.url
        reference = f"{registry.host}/org/from-hub:v1"
        first = built(shell, "hf://org/model", "-t", reference)
        moved = hub.body_bytes()
        assert built(shell, "hf://org/model", "-t", reference) == first
        assert hub.body_bytes() == moved  # it was in the store
        made = shell.run("modelfile", "generate", "--model-url", "org/model", "-O", str(tmp_path / "written"))
        assert made.returncode == 0, made.stderr
    assert "NAME model\n" in (tmp_path / "written" / "Modelfile").read_text()
    _, manifest = OciLayout.open(shell.store / "layout").manifest(reference)
    config = json.loads(OciLayout.open(shell.store / "layout").blobs.read(manifest.config))
    assert config["descriptor"]["sourceURL"] == "hf://org/model"
    assert config["descriptor"]["revision"] == commit
    assert shell.run("push", reference).returncode == 0
    pulled = shell.pull(reference)
    assert {path.name: path.read_bytes() for path in pulled.iterdir()} == FILES


def test_a_copy_of_a_hubs_model_is_built_from_and_said_when_the_hub_is_away(shell: Shell, tmp_path: Path) -> None:
    with Hub() as hub:
        hub.commit("org/model", FILES)
        shell.environment["HF_ENDPOINT"] = hub.url
        first = built(shell, "hf://org/model", "-o", str(tmp_path / "layout"))
    again = shell.run("build", "hf://org/model", "-o", str(tmp_path / "again"))
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip() == first["digest"]
    assert "hf://org/model" in again.stderr
    assert "copy" in again.stderr


@pytest.mark.parametrize("command", [("build",), ("modelfile", "generate")])
def test_a_policy_holds_for_models_of_a_hub(shell: Shell, tmp_path: Path, command: tuple[str, ...]) -> None:
    rules = policy(tmp_path, {"references": ["hf://elsewhere/*"], "allow_unsigned": True})
    with Hub() as hub:
        hub.commit("org/model", FILES)
        shell.environment |= {"HF_ENDPOINT": hub.url, "MODELDIST_POLICY": str(rules)}
        where = "-O" if command[1:] else "-o"
        assert "policy" in shell.fails(21, *command, "hf://org/model", where, str(tmp_path / "written"))
        assert hub.body_bytes() < len(FILES["weights.bin"])  # its list of files


def test_flags_that_modctl_has(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    reference = f"{registry.host}/org/model:v1"
    flags = ("--target", reference, "--no-raw", "--no-creation-time", "--output-remote", "--concurrency", "2")
    built(shell, str(model), *flags)
    assert set(types(shell.store / "layout").values()) == {"weight.config.v1.tar", "weight.v1.tar", "doc.v1.tar"}
    assert {path.name: path.read_bytes() for path in shell.pull(reference).iterdir()} == FILES
    assert "--tag" in shell.fails(2, "build", str(model), "--output-remote")
