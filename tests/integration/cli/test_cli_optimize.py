"""`modeldist optimize`: another layout of the same tensors, as a directory or to be pushed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.servers.artifacts import safetensors
from tests.servers.registry import Registry
from tests.servers.shell import Shell


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """One file in loading order, though not on pages, one out of order, and others."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    save_file({f"layers.{n}.weight": np.full((256, 256), n, np.float32) for n in range(8)}, folder / "a.safetensors")
    mixed = {
        f"layers.{n}.weight": ("F32", (512, 256), np.full((512, 256), n, np.float32).tobytes()) for n in (9, 8, 10)
    }
    (folder / "sub" / "b.safetensors").write_bytes(safetensors(mixed))
    (folder / "config.json").write_text("{}")
    return folder


def assert_same_tensors(before: Path, after: Path) -> None:
    for path in ("a.safetensors", "sub/b.safetensors"):
        old, new = load_file(before / path), load_file(after / path)
        assert old.keys() == new.keys()
        assert all(new[name].tobytes() == values.tobytes() for name, values in old.items())
    assert (after / "config.json").read_bytes() == (before / "config.json").read_bytes()


def test_a_directory_is_laid_out_and_measured(shell: Shell, model: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    done = shell.run("optimize", str(model), "--into", str(into), "--runs", "1", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["files"], said["rewritten"], said["path"]) == (3, 2, str(into))
    assert_same_tensors(model, into)
    before, after = said["before"], said["after"]
    assert before["tensors"] == after["tensors"] == 11
    assert before["aligned"] < after["aligned"] == 8 * 256 * 256 * 4 + 3 * 512 * 256 * 4
    assert after["jumps"] < before["jumps"]
    assert len(after["runs"]) == 1
    again = tmp_path / "again"
    told = shell.run("optimize", str(into), "--into", str(again), "--runs", "1")
    assert told.stdout == f"{again}\n"
    assert "0 of 3 files were laid out anew" in told.stderr
    assert "cold load" in told.stderr and "page faults waited for the disk" in told.stderr
    assert (again / "sub" / "b.safetensors").samefile(into / "sub" / "b.safetensors")


def test_a_reference_becomes_another_that_nodes_take_from_the_first(
    shell: Shell, registry: Registry, model: Path, tmp_path: Path
) -> None:
    """Shared files are the same blobs; of those that were laid out anew, a node takes the content from the old ones."""
    first, second = f"{registry.host}/org/model:v1", f"{registry.host}/org/model:v1-aligned"
    for command in (
        ("build", str(model), "-t", first),
        ("push", first),
        ("optimize", first, "--into", second, "--no-measure", "--quiet"),
        ("push", second),
    ):
        done = shell.run(*command)
        assert done.returncode == 0, done.stderr
    node = Shell(tmp_path / "node")
    before = node.pull(first)
    done_json = node.pull_json(second)
    assert_same_tensors(before, Path(done_json["path"]))
    assert done_json["origin"] + done_json["index"] < 0.2 * done_json["size"]


def test_a_directory_with_files_is_left_alone(shell: Shell, model: Path, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "mine").write_text("!")
    assert "not empty" in shell.fails(2, "optimize", str(model), "--into", str(tmp_path / "into"))


def test_a_file_that_is_no_safetensors_file(shell: Shell, model: Path, tmp_path: Path) -> None:
    (model / "a.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 3)
    said = shell.run("optimize", str(model), "--into", str(tmp_path / "into"))
    assert said.returncode not in (0, 1), said.stderr
    assert "a.safetensors is not a valid safetensors file" in said.stderr
    assert {path.name for path in tmp_path.iterdir()}.isdisjoint({"into"})
    assert not list(tmp_path.glob(".into-*"))


def test_a_model_without_safetensors_files(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.gguf").write_bytes(b"GGUF")
    said = shell.run("optimize", str(tmp_path / "model"), "--into", str(tmp_path / "into"))
    assert "has no safetensors files" in said.stderr
    assert not (tmp_path / "into").exists()
