"""Building: the same files give the same digest everywhere, and only files that belong go in."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelpack import mediatypes
from modelpack.build import build, source_date_epoch
from modelpack.chunk_table import CHUNK_TABLE_ANNOTATION, chunk_digests
from modelpack.config import ModelDescriptor, parse_config
from modelpack.digests import sha256_digest
from modelpack.errors import BuildError, UnsafeName
from modelpack.filekinds import LARGE, kind_of
from modelpack.hashing import hash_file
from modelpack.layout import OciLayout
from modelpack.sources import hub_identity
from modelpack.verify import verify_layout


def make_model(root: Path) -> Path:
    (root / "sub").mkdir(parents=True)
    config = {
        "_name_or_path": "org/toy-model",
        "model_type": "toy",
        "transformers_version": "4.0",
        "torch_dtype": "float32",
        "quantization_config": {"quant_method": "awq"},
    }
    (root / "config.json").write_text(json.dumps(config))
    save_file({"a": np.zeros((64, 32), np.float16), "b": np.zeros(3, np.int64)}, root / "sub" / "model.safetensors")
    (root / "README.md").write_text("# toy\n")
    (root / "run.py").write_text("print()\n")
    (root / "run.py").chmod(0o700)
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def layout(tmp_path: Path) -> OciLayout:
    return OciLayout.create(tmp_path / "layout")


def test_a_directory_becomes_a_valid_model(model, layout):
    seen: dict[str, int] = {}
    built = build(model, layout, ref="v1", environ={}, on_file=seen.__setitem__, annotations={"k": "v"})
    artifact = verify_layout(layout, "v1")
    assert artifact.deviations == ()
    assert {file.path: file.kind for file in artifact.files} == {
        "README.md": "doc",
        "config.json": "weight.config",
        "run.py": "code",
        "sub/model.safetensors": "weight",
    }
    assert seen == {file.path: file.descriptor.size for file in artifact.files}
    assert [file.path for file in artifact.files if file.executable] == ["run.py"]
    for layer in built.manifest.layers:
        path = layer.annotations[mediatypes.FILEPATH]
        assert layer.annotations[mediatypes.TITLE] == path
        assert json.loads(layer.annotations[mediatypes.FILE_METADATA]) == {
            "name": path.rpartition("/")[2],
            "mode": 0o755 if path == "run.py" else 0o644,
            "uid": 0,
            "gid": 0,
            "size": layer.size,
            "mtime": "2025-01-01T00:00:00Z",
            "typeflag": 0,
        }
    assert built.manifest.annotations.keys() == {"k", CHUNK_TABLE_ANNOTATION}
    assert built.placements.keys() == seen.keys()


def test_the_config_is_filled_from_the_files(model, layout):
    built = build(model, layout, environ={})
    parsed = parse_config(layout.blobs.read(built.manifest.config), strict=True)
    assert parsed.deviations == ()
    assert parsed.config == built.config
    technical = built.config.config
    assert (technical.architecture, technical.format, technical.precision) == ("transformer", "safetensors", "float16")
    assert (technical.param_size, technical.quantization) == ("2.1k", "awq")
    assert (built.config.descriptor.name, built.config.descriptor.family) == ("toy-model", "toy")
    assert built.config.descriptor.created_at == ""
    assert built.config.modelfs.diff_ids == tuple(layer.digest for layer in built.manifest.layers)


def test_what_the_caller_says_goes_before_what_the_files_say(model, layout):
    about = ModelDescriptor(name="mine", family="other", licenses=("MIT",))
    built = build(model, layout, about=about, epoch=0)
    assert built.config.descriptor == ModelDescriptor(
        name="mine", family="other", licenses=("MIT",), created_at="1970-01-01T00:00:00Z"
    )


def test_twice_anywhere_gives_the_same_digest(model, tmp_path):
    first = build(model, OciLayout.create(tmp_path / "one"), environ={}, threads=1)
    copy = shutil.copytree(model, tmp_path / "elsewhere" / "renamed")
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    second = build(copy, OciLayout.create(tmp_path / "two"), environ={}, threads=4)
    assert first.digest == second.digest
    dated = build(model, OciLayout.create(tmp_path / "three"), environ={"SOURCE_DATE_EPOCH": "86400"})
    assert dated.digest != first.digest
    assert dated.config.descriptor.created_at == "1970-01-02T00:00:00Z"


def test_building_again_stores_nothing_new(model, layout):
    build(model, layout, ref="v1", environ={})
    again = build(model, layout, ref="v1", environ={})
    assert set(again.placements.values()) == {"present"}
    assert len(layout.index().manifests) == 2  # the model and its chunk table


def hub_snapshot(tmp_path: Path, model: Path) -> Path:
    """The model as a Hugging Face cache keeps it."""
    repo = tmp_path / "hub" / "models--org--toy"
    snapshot = repo / "snapshots" / ("a" * 40)
    (repo / "blobs").mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in model.rglob("*") if path.is_file())):
        shutil.copy(path, repo / "blobs" / str(number))
        link = snapshot / path.relative_to(model)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(repo / "blobs" / str(number), link.parent))
    return snapshot


def test_a_snapshot_is_the_same_model(model, tmp_path, layout):
    snapshot = hub_snapshot(tmp_path, model)
    assert hub_identity(snapshot) == ("org/toy", "a" * 40)
    assert hub_identity(model) is None
    plain = build(model, OciLayout.create(tmp_path / "other"), environ={})
    assert build(snapshot, layout, environ={}).digest == plain.digest
    layout.verify()


def test_links_are_followed_within_the_directory_and_where_allowed(model, tmp_path, layout):
    (model / "alias.md").symlink_to("README.md")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    built = build(model, layout, environ={})
    assert len(built.manifest.layers) == 5
    (model / "notes.txt").symlink_to(outside / "secret.txt")
    with pytest.raises(BuildError, match=r"notes\.txt is a link out of the directory"):
        build(model, layout)
    assert len(build(model, layout, follow=(outside,)).manifest.layers) == 6


def test_what_is_left_out(model, tmp_path, layout):
    before = build(model, layout, environ={}).digest
    (model / ".git").mkdir()
    (model / ".git" / "config").write_text("x")
    (model / "__pycache__").mkdir()
    (model / "__pycache__" / "run.cpython-311.pyc").write_bytes(b"x")
    for name in (".gitattributes", "model.lock", "x.pyc", "Modelfile"):
        (model / name).write_text("x")
    inside = OciLayout.create(model / "layout")
    assert build(model, inside, environ={}).digest == before


@pytest.mark.parametrize("what", ["missing", "empty", "dangling", "directory link", "pipe", "unsafe"])
def test_what_cannot_be_built(what, model, tmp_path, layout):
    directory, error, says = model, BuildError, what
    if what == "missing":
        directory, says = tmp_path / "nowhere", "no directory"
    elif what == "empty":
        directory, says = tmp_path / "void", "no files"
        directory.mkdir()
    elif what == "dangling":
        (model / "gone.bin").symlink_to("nowhere")
        says = "a file that is missing"
    elif what == "directory link":
        (model / "link").symlink_to("sub")
        says = "a link to a directory"
    elif what == "pipe":
        os.mkfifo(model / "pipe")
        says = "neither a file nor a directory"
    else:
        (model / "back\\slash").write_text("x")
        error, says = UnsafeName, "backslash"
    with pytest.raises(error, match=says):
        build(directory, layout)
    assert layout.index().manifests == ()


def test_a_file_that_changes_meanwhile(model, layout):
    weights = model / "weights.bin"
    weights.write_bytes(b"1" * (32 * 1024 * 1024))
    done = threading.Event()

    def keep_changing() -> None:
        moment = 0
        while not done.wait(0.001):
            moment += 1
            os.utime(weights, (moment, moment))

    writer = threading.Thread(target=keep_changing)
    writer.start()
    try:
        with pytest.raises(BuildError, match=r"weights\.bin changed while it was read"):
            build(model, layout)
    finally:
        done.set()
        writer.join()
    assert not layout.blobs.path_of(hash_file(weights).digest).exists()
    assert layout.index().manifests == ()


def test_too_many_files_for_a_manifest(tmp_path, layout):
    deep = tmp_path.joinpath("m", *["d" * 200] * 5)
    deep.mkdir(parents=True)
    for number in range(1900):
        (deep / f"{number}.txt").touch()
    with pytest.raises(BuildError, match="1900 files, which makes a manifest of"):
        build(tmp_path / "m", layout)


def test_broken_weights_and_configs_are_said_and_built(tmp_path, layout):
    model = tmp_path / "m"
    model.mkdir()
    (model / "config.json").write_text("not json")
    (model / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    (model / "consolidated.safetensors").write_bytes(b"")
    built = build(model, layout, environ={})
    assert [warning.partition(" ")[0] for warning in built.warnings] == ["The", "model.safetensors"]
    assert built.config.config.format == "safetensors"
    assert built.config.config.param_size == ""
    assert built.config.descriptor.name == ""


def test_precision_without_headers_comes_from_the_config(tmp_path, layout):
    model = tmp_path / "m"
    model.mkdir()
    (model / "config.json").write_text('{"dtype":"bfloat16","quantization_config":"none"}')
    (model / "pytorch_model.bin").write_bytes(b"x")
    technical = build(model, layout, environ={}).config.config
    assert (technical.format, technical.precision, technical.quantization) == ("pytorch", "bfloat16", "")


def test_files_are_reported_from_threads_once_each(model, layout):
    lock, calls = threading.Lock(), []

    def on_file(path: str, size: int) -> None:
        with lock:
            calls.append((path, size))

    build(model, layout, on_file=on_file, threads=4)
    assert len(calls) == len(set(calls)) == 4


@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [
        ("model.safetensors", 1, "weight"),
        ("MODEL.GGUF", 1, "weight"),
        ("model.safetensors.index.json", 1, "weight.config"),
        ("tokenizer.model", 1, "weight.config"),
        ("tokenizer.model.v3", 1, "weight.config"),
        ("checkpoint.data-00000-of-00001", 1, "weight"),
        ("modeling.py", 1, "code"),
        ("requirements.txt", 1, "code"),
        ("LICENSE", 1, "doc"),
        ("README", 1, "doc"),
        ("merges.txt", 1, "doc"),
        ("unknown", LARGE, "code"),
        ("unknown", LARGE + 1, "weight"),
    ],
)
def test_kinds(name, size, kind):
    assert kind_of(name, size) == kind


def test_the_epoch_of_the_environment():
    assert source_date_epoch({}) is None
    assert source_date_epoch({"SOURCE_DATE_EPOCH": "7"}) == 7
    for bad in ("-1", "now", "1.5", "9" * 13):
        with pytest.raises(BuildError, match="is no time"):
            source_date_epoch({"SOURCE_DATE_EPOCH": bad})


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_both_digests_of_files_that_are_hashed_alone_and_together(tmp_path, threads):
    """Of one buffer, of several, to the byte at their ends; the last file alone while the others' threads are idle."""
    directory = tmp_path / "model"
    directory.mkdir()
    mib = 1024 * 1024
    contents = {}
    for size in (0, 1, mib, 4 * mib - 1, 4 * mib, 4 * mib + 1, 12 * mib, 33 * mib + 7):
        contents[f"{size}.bin"] = data = random.Random(size).randbytes(size)
        (directory / f"{size}.bin").write_bytes(data)
    layout = OciLayout.create(tmp_path / "layout")
    built = build(directory, layout, threads=threads)
    table = layout.chunk_table(built.manifest)
    assert table is not None
    for layer in built.manifest.layers:
        data = contents[layer.annotations[mediatypes.FILEPATH]]
        assert layer.digest == sha256_digest(data)
        chunks = table.of(layer.digest)
        assert chunks is not None and chunks.digests == chunk_digests(data, chunks.chunk_size)
