"""`modeldist extract`, `fetch`, `tag` and `prune`."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelpack.build import build
from modelpack.config import Capabilities, ModelDescriptor, TechnicalConfig
from modelpack.layout import OciLayout
from modelpack.manifest import encode_manifest
from modelpack.mediatypes import FILEPATH, KINDS, Encoding
from modelpack.oci import RegistryClient, push
from modelpack.reference import Reference
from tests.servers.registry import Registry
from tests.servers.shell import Shell

FILES = {
    "config.json": b'{"a": 1}',
    "sub/more.json": b"[]",
    "weights.bin": os.urandom(3_000_000),
    "copy.bin": b"",
    "README.md": b"# m\n",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    files = {**FILES, "copy.bin": FILES["weights.bin"]}
    for name, content in files.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    (tmp_path / "model" / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "model" / "run.sh").chmod(0o755)
    return tmp_path / "model"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def published(shell: Shell, registry: Registry, model: Path, encoding: Encoding = "raw") -> str:
    """Built in the shell's store and pushed; by the library, as the commands have tests of their own."""
    reference = f"{registry.host}/org/model:v1"
    layout = OciLayout.create(shell.store / "layout")
    about = ModelDescriptor(source_url="https://example.org/m")
    reasoning = TechnicalConfig(capabilities=Capabilities(reasoning=True))
    encodings = dict.fromkeys(KINDS, encoding)
    build(model, layout, ref=reference, about=about, technical=reasoning, encodings=encodings, environ={})

    async def send() -> None:
        async with RegistryClient() as client:
            await push(layout, reference, Reference.parse(reference), client)

    asyncio.run(send())
    registry.clear_log()
    return reference


@pytest.mark.parametrize("flags", [(), ("--encoding", "tar+zstd", "--encoding", "weight=tar+gzip")])
def test_extract_gives_the_files_back(shell: Shell, registry: Registry, model: Path, tmp_path: Path, flags) -> None:
    reference = f"{registry.host}/org/model:v1"
    assert shell.run("build", str(model), "-t", reference, *flags).returncode == 0
    done = shell.run("extract", reference, "-o", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == contents(model)
    assert sorted(json.loads(done.stdout)["files"]) == sorted(contents(model))
    assert (tmp_path / "out" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out" / "weights.bin").stat().st_nlink == 1
    assert "not empty" in shell.fails(2, "extract", reference, "-o", str(tmp_path / "out"))


def test_extract_of_what_was_pulled(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    reference = published(shell, registry, model)
    assert shell.run("rm", reference).returncode == 0
    assert "Pull it" in shell.fails(4, "extract", reference, "-o", str(tmp_path / "out"))
    shell.pull(reference)
    assert shell.run("extract", reference, "-o", str(tmp_path / "out")).returncode == 0
    assert contents(tmp_path / "out") == contents(model)


def test_extract_of_a_damaged_layout_writes_nothing(shell: Shell, model: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    assert shell.run("build", str(model), "-o", str(layout), "--encoding", "doc=tar").returncode == 0
    opened = OciLayout.open(layout)
    weights = max(opened.manifest()[1].layers, key=lambda layer: layer.size)
    path = opened.blobs.path_of(weights.digest)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert weights.digest in shell.fails(10, "extract", f"oci-layout:{layout}", "-o", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_fetch_takes_only_what_matches(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    reference = published(shell, registry, model)
    out = tmp_path / "out"
    done = shell.run("fetch", reference, "-o", str(out), "--patterns", "**/*.json", "-p", "run.*", "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(contents(out)) == ["config.json", "run.sh", "sub/more.json"]
    assert (out / "run.sh").stat().st_mode & 0o777 == 0o755
    assert json.loads(done.stdout)["bytes_fetched"] == 8 + 2 + 10
    assert registry.blob_bytes() < 10_000  # besides, the config of the model
    # what is there stays, the same bytes are fetched once, what is something else is not replaced
    before = (out / "config.json").stat().st_mtime_ns
    registry.clear_log()
    assert shell.run("fetch", reference, "-o", str(out)).returncode == 0
    assert contents(out) == contents(model)
    assert (out / "config.json").stat().st_mtime_ns == before
    assert registry.blob_bytes() < 3_000_000 + 10_000
    (out / "README.md").write_text("mine")
    assert "README.md is there and is not" in shell.fails(2, "fetch", reference, "-o", str(out))
    assert (out / "README.md").read_text() == "mine"
    assert "*.gguf" in shell.fails(2, "fetch", reference, "-o", str(out), "-p", "*.gguf")
    assert "pattern" in shell.fails(2, "fetch", reference, "-o", str(out), "-p", "[")


def test_fetch_goes_on_with_what_is_half_there(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    reference = published(shell, registry, model)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".partial-weights.bin").write_bytes(FILES["weights.bin"][:2_000_000])
    assert shell.run("fetch", reference, "-o", str(tmp_path / "out"), "-p", "weights.bin").returncode == 0
    assert contents(tmp_path / "out") == {"weights.bin": FILES["weights.bin"]}
    assert registry.blob_bytes() < 1_000_000 + 10_000


def test_fetch_looks_into_archives(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    reference = published(shell, registry, model, "tar+zstd")
    out = tmp_path / "out"
    assert shell.run("fetch", reference, "-o", str(out), "-p", "**/*.json").returncode == 0
    assert contents(out) == {name: FILES[name] for name in ("config.json", "sub/more.json")}
    assert registry.blob_bytes() < 10_000
    assert shell.run("fetch", reference, "-o", str(out)).returncode == 0
    assert contents(out) == contents(model)


def test_fetch_never_leaves_its_directory(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    reference = published(shell, registry, model)
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    assert "link out of" in shell.fails(2, "fetch", reference, "-o", str(tmp_path / "out"), "-p", "sub/*")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["weights.bin", "copy.bin"])
def test_fetch_writes_through_no_link(shell: Shell, registry: Registry, model: Path, tmp_path: Path, name: str) -> None:
    """In a directory that others may write to: they know what the beginning of a file will be called."""
    reference, out, victim = published(shell, registry, model), tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    victim.write_bytes(b"mine")
    (out / f".partial-{name}").symlink_to(victim)
    done = shell.run("fetch", reference, "-o", str(out), "-p", "*.bin")
    assert done.returncode == 0 or f".partial-{name} is there and no file" in done.stderr
    assert victim.read_bytes() == b"mine"


def test_fetch_of_a_file_called_like_the_beginning_of_another(
    shell: Shell, registry: Registry, model: Path, tmp_path: Path
) -> None:
    (model / "beginning").write_bytes(b"another")
    reference = f"{registry.host}/org/model:v1"
    layout = OciLayout.create(shell.store / "layout")
    build(model, layout, ref=reference, environ={})
    _, manifest = layout.manifest(reference)
    renamed = tuple(
        msgspec.structs.replace(layer, annotations={FILEPATH: ".partial-weights.bin"})
        if layer.annotations[FILEPATH] == "beginning"
        else layer
        for layer in manifest.layers
    )
    layout.add_manifest(encode_manifest(msgspec.structs.replace(manifest, layers=renamed, annotations={})), reference)

    async def send() -> None:
        async with RegistryClient() as client:
            await push(layout, reference, Reference.parse(reference), client)

    asyncio.run(send())
    assert "so is called what is there of" in shell.run("fetch", reference, "-o", str(tmp_path / "out")).stderr
    assert not (tmp_path / "out").exists()


def test_tags_move(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    reference = published(shell, registry, model)
    first = shell.run("tag", reference, ":latest", "--json")
    assert first.returncode == 0, first.stderr
    named = json.loads(first.stdout)
    assert named["reference"] == f"{registry.host}/org/model:latest"
    (model / "config.json").write_text("[]")
    second = published(shell, registry, model)
    moved = json.loads(shell.run("tag", second, f"{registry.host}/org/model:latest", "--json").stdout)
    assert moved["digest"] != named["digest"]
    assert moved["digest"] in shell.run("inspect", named["reference"]).stdout
    assert registry.blob_bytes() < 10_000
    assert "modeldist copy" in shell.fails(2, "tag", reference, f"{registry.host}/org/other:v1")
    assert "tag v9" in shell.fails(4, "tag", f"{registry.host}/org/model:v9", ":v8")
    # what was built here
    away = f"{registry.host}/other/model:v2"
    assert shell.run("tag", "--local", second, away).returncode == 0
    assert shell.run("push", away).returncode == 0
    layout = tmp_path / "layout"
    assert shell.run("copy", second, f"oci-layout:{layout}:a").returncode == 0
    assert shell.run("tag", f"oci-layout:{layout}:a", ":b").returncode == 0
    assert set(OciLayout.open(layout).refs()) == {"a", "b"}


def test_what_was_built_is_listed_by_name(shell: Shell, model: Path) -> None:
    assert json.loads(shell.run("ls", "--built", "--json").stdout) == []
    pinned = shell.run("build", str(model), "-t", "host.example/org/model:v1").stdout.strip()
    assert shell.run("tag", "--local", "host.example/org/model:v1", ":latest").returncode == 0
    listed = json.loads(shell.run("ls", "--built", "--json").stdout)
    assert [model["reference"] for model in listed] == ["host.example/org/model:latest", "host.example/org/model:v1"]
    assert {f"host.example/org/model@{model['digest']}" for model in listed} == {pinned}
    size = sum(map(len, FILES.values())) + len("#!/bin/sh\n")
    assert {(model["size"], model["files"]) for model in listed} == {(size, len(FILES) + 1)}
    assert "host.example/org/model:latest" in shell.run("ls", "--built").stdout
    named = f"{shell.store / 'layout'}:host.example/org/model:v1"
    for target in (named, f"oci-layout:{named}"):
        assert json.loads(shell.run("inspect", target, "--json").stdout)["digest"] == pinned.partition("@")[2]
    assert "does not exist" in shell.fails(4, "inspect", "/no/where")


def test_prune_removes_what_nothing_needs(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    assert json.loads(shell.run("prune", "--json").stdout)["bytes_freed"] == 0
    reference = f"{registry.host}/org/model:v1"
    assert shell.run("build", str(model), "-t", reference).returncode == 0
    (model / "config.json").write_text("[1]")
    assert shell.run("build", str(model), "-t", reference).returncode == 0
    layout = OciLayout.open(shell.store / "layout")
    blobs = layout.blobs.path / "sha256"
    (blobs / ".partial-x").write_bytes(b"left")
    (blobs / ".new-y").mkdir()
    (blobs / ".new-y" / "blob").write_bytes(b"left")
    before = {path.name for path in blobs.iterdir()}
    would = json.loads(shell.run("prune", "--dry-run", "--json").stdout)
    assert {path.name for path in blobs.iterdir()} == before
    done = json.loads(shell.run("prune", "--json").stdout)
    assert {**done, "dry_run": True} == would
    assert (len(done["blobs"]), done["leftovers"]) == (5, 2)  # config.json, model config, manifest, table and its own
    assert {path.name for path in blobs.iterdir()} == before - {".partial-x", ".new-y"} - {
        digest.partition(":")[2] for digest in done["blobs"]
    }
    layout.verify()
    assert shell.run("push", reference).returncode == 0
    assert len(layout.index().manifests) == 2
    again = shell.run("prune")
    assert "0 manifests, 0 blobs" in again.stdout


def facts(shell: Shell, reference: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shell.run("inspect", "--json", reference).stdout)
    return found


def test_attach_in_the_registry_moves_no_blob(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    config = {"model_type": "toy", "transformers_version": "4"}
    (model / "config.json").write_text(json.dumps(config))
    reference = published(shell, registry, model)
    before = facts(shell, reference)
    registry.clear_log()
    (tmp_path / "LICENSE").write_text("MIT")
    target = f"{registry.host}/org/model:v2"
    done = shell.run("attach", str(tmp_path / "LICENSE"), "-s", reference, "-t", target, "--output-remote", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == "LICENSE"
    assert registry.blob_bytes() < 20_000  # config and chunk table
    assert sum("uploads" in access.path and access.method == "PUT" for access in registry.access_log()) <= 5
    after = facts(shell, target)
    assert after["config"]["descriptor"] == before["config"]["descriptor"]
    assert after["config"]["config"] == before["config"]["config"]
    old, new = (each["config"]["modelfs"]["diffIds"] for each in (before, after))
    assert new[:-1] == old
    assert {file["path"] for file in after["files"]} == {file["path"] for file in before["files"]} | {"LICENSE"}
    assert contents(shell.pull(target)) == {**contents(model), "LICENSE": b"MIT"}
    # the chunk table covers it
    assert shell.run("copy", target, f"oci-layout:{tmp_path / 'away'}:v2").returncode == 0
    layout = OciLayout.open(tmp_path / "away")
    _, manifest = layout.manifest("v2")
    table = layout.chunk_table(manifest)
    assert table is not None
    assert all(table.of(layer.digest) for layer in manifest.layers)


def test_attach_to_what_was_built(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    reference = f"{registry.host}/org/model:v1"
    assert shell.run("build", str(model), "-t", reference).returncode == 0
    (tmp_path / "config.json").write_text("[2]")
    assert "--force" in shell.fails(2, "attach", str(tmp_path / "config.json"), "-s", reference)
    assert shell.run("attach", str(tmp_path / "config.json"), "-s", reference, "--force").returncode == 0
    assert (
        shell.run(
            "attach", str(tmp_path / "config.json"), "-s", reference, "-d", "more", "--encoding", "tar"
        ).returncode
        == 0
    )
    (tmp_path / "README.MD").write_text("x")
    assert "README.md" in shell.fails(11, "attach", str(tmp_path / "README.MD"), "-s", reference)
    assert shell.run("extract", reference, "-o", str(tmp_path / "out")).returncode == 0
    assert contents(tmp_path / "out") == {**contents(model), "config.json": b"[2]", "more/config.json": b"[2]"}
    other = tmp_path / "other.json"
    other.write_text('{"descriptor": {"name": "renamed"}, "config": {}, "modelfs": {"type": "layers", "diffIds": []}}')
    assert shell.run("attach", str(other), "-s", reference, "--config").returncode == 0
    assert shell.run("push", reference).returncode == 0
    found = facts(shell, reference)
    assert found["config"]["descriptor"]["name"] == "renamed"
    assert found["deviations"] == []
    assert "--output-remote" in shell.fails(4, "attach", str(other), "-s", f"{registry.host}/org/model:v9")
