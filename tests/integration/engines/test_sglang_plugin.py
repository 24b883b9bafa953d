"""`sglang serve --model-path modeldist://REF`: the plugin is found where modeldist is installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.servers.engine_programs import FILES, STAND_INS, ended, failed, serve, started
from tests.servers.shell import Shell


def test_other_models_are_sglangs_own(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(FILES["config.json"])
    assert json.loads(ended(started(serve(str(tmp_path)), shell.environment)))["model_path"] == str(tmp_path)
    assert "org/model is not a local folder" in failed(started(serve("org/model"), shell.environment))


def test_what_is_wrong_is_said(shell: Shell) -> None:
    def said(*arguments: str) -> str:
        return failed(started(serve(*arguments), shell.environment))

    assert "No agent listens on" in (without := said("modeldist://org/model:v1"))
    assert "Run `modeldist agent` on this node" in without
    assert "--revision v2" in said("modeldist://org/model:v1", "--revision", "v2")
    assert "modeldist:// names no model" in said("modeldist://")


@pytest.mark.parametrize(
    ("file", "name", "lacks"),
    [
        ("server_args.py", "served_model_name", "has no served_model_name in ServerArgs"),
        ("plugins/hook_registry.py", "HookType", "has no hooks for plugins"),
    ],
)
def test_another_sglang_is_refused_by_its_version(
    shell: Shell, tmp_path: Path, file: str, name: str, lacks: str
) -> None:
    changed = tmp_path / "sglang"
    shutil.copytree(STAND_INS / "sglang", changed, ignore=shutil.ignore_patterns("__pycache__"))
    source = (changed / "srt" / file).read_text()
    assert name in source
    (changed / "srt" / file).write_text(source.replace(name, f"{name}_of_late"))
    process = started(serve("modeldist://org/model:v1"), {**shell.environment, "STAND_IN_VERSION": "0.9"}, tmp_path)
    _, said = process.communicate(timeout=110)
    assert process.returncode != 0
    assert f"SGLang 0.9 {lacks}" in said
    assert "Use SGLang 0.5.23" in said


def test_an_older_sglang_looks_at_its_settings_when_they_are_made(shell: Shell, tmp_path: Path) -> None:
    shutil.copytree(STAND_INS / "sglang", tmp_path / "sglang", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "sglang" / "srt" / "server_args.py"
    source = file.read_text()
    for there, before in {
        "import msgspec": "from dataclasses import dataclass",
        "class ServerArgs(msgspec.Struct, dict=True)": "@dataclass\nclass ServerArgs",
        "def resolve_once": "def __post_init__",
    }.items():
        assert there in source
        source = source.replace(there, before)
    file.write_text(source)
    program = serve("modeldist://org/model:v1")
    assert "No agent listens on" in failed(started(program, shell.environment, tmp_path))
