"""`modeldist lint` as a publisher runs it: on a directory, a layout, and a model in a registry."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from modeldist.cli.main import program
from tests.servers.artifacts import Written, packed, raw, safetensors, tar, written
from tests.servers.hub import Hub
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry
from tests.servers.shell import Shell
from tests.unit.modelpack import lint_cases

MIB = 1024 * 1024
LARGE = safetensors({"a": ("U8", [8 * MIB], bytes(8 * MIB))})


def large() -> Written:
    """A model of 24 MiB: one file as it is, one in an archive, one in an archive that must be read as a whole."""
    noise = os.urandom(17 * MIB)
    return written(
        "large",
        [
            raw("model.safetensors", LARGE),
            packed("more", tar({"x/config.json": b"{}", "x/model.safetensors": LARGE}), "weight"),
            packed("noise", tar({"noise.txt": noise}), "doc", "tar+gzip"),
        ],
    )


def test_a_model_in_a_registry_is_read_in_small_parts(shell: Shell, registry: Registry) -> None:
    model = large()
    reference = model.push(registry)
    registry.clear_log()
    done = shell.run("lint", "--json", reference)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["models"]
    assert (found["target"], found["digest"], found["dialect"]) == (reference, model.digest, "cncf")
    assert {finding["rule"] for finding in found["findings"]} == {"MP515", "MP808"}
    assert registry.blob_bytes() < MIB


def test_headers_are_read_where_they_are(shell: Shell, registry: Registry) -> None:
    """Also inside an archive, behind eight megabytes."""
    layers = [
        packed("all", tar({"a.safetensors": LARGE, "b.safetensors": LARGE[:-1]}), "weight"),
        raw("LICENSE", b"MIT", "doc"),
    ]
    reference = written("broken", layers).push(registry)
    registry.clear_log()
    done = shell.run("lint", reference)
    assert done.returncode == 31, done.stdout
    said = " ".join(done.stdout.split())
    assert "error MP610 safetensors-length: b.safetensors is not a valid safetensors file" in said
    assert "1 error, 1 warning, 1 note." in said
    assert registry.blob_bytes() < MIB


@pytest.mark.parametrize(
    ("rule", "fail_on", "code"),
    [
        ("MP103", "error", 31),
        ("MP103", "note", 31),
        ("MP103", "never", 0),
        ("MP206", "error", 0),
        ("MP206", "warning", 32),
        ("MP206", "note", 32),
        ("MP514", "warning", 0),
        ("MP514", "note", 33),
    ],
)
def test_exit_codes(tmp_path, rule: str, fail_on: str, code: int) -> None:
    model = lint_cases.BREAKS[rule]()
    model.into_layout(tmp_path / "layout")
    done = CliRunner().invoke(program, ["lint", f"{tmp_path / 'layout'}:{model.name}", "--fail-on", fail_on])
    assert done.exit_code == code, done.output
    assert rule in done.stdout


def test_a_directory_and_what_is_built_of_it(shell: Shell, tmp_path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "model.safetensors").write_bytes(lint_cases.TENSORS)
    (source / "config.json").write_text("{}")
    (source / "README.md").write_text("hi")
    assert shell.run("lint", str(source), "--fail-on", "note").returncode == 0
    assert shell.run("build", str(source), "-t", "x/model:v1", "-o", str(tmp_path / "layout")).returncode == 0
    layout = tmp_path / "layout"
    for target in (f"{layout}", f"oci-layout:{layout}:v1", f"{layout}:docker.io/x/model:v1"):
        done = shell.run("lint", target, "--fail-on", "warning")
        assert done.returncode == 0, done.stdout + done.stderr
    (source / "model.safetensors").write_bytes(b"<!DOCTYPE html><html>404</html>")
    done = shell.run("lint", str(source))
    assert done.returncode == 31
    assert "MP510 pointer-file: 'model.safetensors' is a web page" in done.stdout


def test_sarif_on_stdout(shell: Shell, tmp_path) -> None:
    model = lint_cases.BREAKS["MP207"]()
    model.into_layout(tmp_path / "layout")
    done = shell.run("lint", str(tmp_path / "layout"), "--format", "sarif")
    (run,) = json.loads(done.stdout)["runs"]
    assert run["tool"]["driver"]["name"] == "modeldist lint"
    assert [result["ruleId"] for result in run["results"]] == ["MP207", "MP514", "MP515"]


def test_what_cannot_be_looked_at(shell: Shell, registry: Registry) -> None:
    assert "no/model" in shell.fails(4, "lint", f"{registry.host}/no/model:v1")
    assert "no OCI image layout" in shell.fails(4, "lint", "oci-layout:/no/where")


def test_a_repository_of_a_hub(shell: Shell) -> None:
    """As before it is mirrored: a repository of twelve megabytes costs a few kilobytes."""
    files = {
        "model-00001-of-00002.safetensors": LARGE,
        "model.safetensors.index.json": b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "gone"}}',
        "pytorch_model.bin": b"\x80\x04" + bytes(4 * MIB),
        "config.json": b"{}",
        "README.md": b"hi",
    }
    with Hub() as hub:
        hub.commit("org/model", files)
        shell.environment["HF_ENDPOINT"] = hub.url
        done = shell.run("lint", "--json", "hf://org/model")
        assert done.returncode == 31, done.stderr
        assert hub.body_bytes() < MIB
    (found,) = json.loads(done.stdout)["models"]
    assert {finding["rule"] for finding in found["findings"]} == {"MP502", "MP504", "MP509", "MP512"}


def test_blobs_that_the_registry_has_lost(shell: Shell, faulty: FaultyRegistry) -> None:
    model = lint_cases.without(lint_cases.model(), lint_cases.TENSORS)
    done = shell.run("lint", model.serve(faulty))
    assert done.returncode == 31, done.stderr
    assert "MP901 blob-missing" in done.stdout


def test_a_chunk_table_that_the_registry_has_lost(shell: Shell, registry: Registry) -> None:
    done = shell.run("lint", lint_cases.BREAKS["MP908"]().push(registry), "--fail-on", "warning")
    assert done.returncode == 32, done.stderr
    assert "MP908 chunk-table-missing" in done.stdout
