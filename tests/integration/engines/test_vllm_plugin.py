"""`vllm serve REF --load-format modeldist`: engines of vLLM's, whose plugin is found where modeldist is installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.servers.engine_programs import ASK, ENGINE, FILES, RANK, STAND_INS, ended, failed, settings, started
from tests.servers.shell import Shell


def test_other_formats_and_directories_ask_no_agent(shell: Shell, tmp_path: Path) -> None:
    for name, contents in FILES.items():
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_bytes(contents)
    kept = str(tmp_path / "config")
    for format_ in ("modeldist", "auto"):
        given = settings(str(tmp_path / "model"), load_format=format_)
        ended(started(ENGINE.format(settings=given, kept=kept), shell.environment))
        directory, weights = json.loads(ended(started(RANK.format(kept=kept), shell.environment)))
        assert (directory, bytes.fromhex(weights)) == (str(tmp_path / "model"), b"w" * 10_000)
    assert "not a valid model identifier" in failed(
        started(ASK.format(settings={"model": "org/model:v1"}), shell.environment)
    )


def test_what_is_wrong_is_said(shell: Shell) -> None:
    def said(model: str, **others: object) -> str:
        return failed(started(ASK.format(settings=settings(model, **others)), shell.environment))

    assert "No agent listens on" in (without := said("org/model:v1"))
    assert "Run `modeldist agent` on this node" in without
    assert "org/model:v1 says which version is meant, and so does --revision v2" in said("org/model:v1", revision="v2")
    unknown = said("org/model", model_loader_extra_config={"modeldist": {"sock": "/a"}})
    assert '"socket", "load_format" and "stream"' in unknown
    assert "no JSON object" in said("org/model", model_loader_extra_config="{}")


@pytest.mark.parametrize(
    ("file", "name", "lacks"),
    [
        ("engine/arg_utils.py", "served_model_name", "served_model_name in EngineArgs"),
        (
            "model_executor/model_loader/__init__.py",
            "register_model_loader",
            "model loaders that a plugin may",
        ),
        ("model_executor/model_loader/__init__.py", "load_weights", "load_weights in BaseModelLoader"),
    ],
)
def test_another_vllm_serves_other_formats_and_refuses_this_one(
    shell: Shell, tmp_path: Path, file: str, name: str, lacks: str
) -> None:
    changed = tmp_path / "changed" / "vllm"
    shutil.copytree(STAND_INS / "vllm", changed, ignore=shutil.ignore_patterns("__pycache__"))
    source = (changed / file).read_text()
    (changed / file).write_text(source.replace(name, f"{name}_of_late"))
    assert name in source
    environment = {**shell.environment, "STAND_IN_VERSION": "0.99"}
    said = failed(started(ASK.format(settings=settings("org/model:v1")), environment, changed.parent))
    assert f"vLLM 0.99 has no {lacks}" in said
    assert "Use vLLM 0.33" in said
    (tmp_path / "config.json").write_bytes(FILES["config.json"])
    engine = ENGINE.format(settings={"model": str(tmp_path)}, kept=str(tmp_path / "config"))
    assert json.loads(ended(started(engine, environment, changed.parent)))[0]["hf_config"] == {"model_type": "llama"}
