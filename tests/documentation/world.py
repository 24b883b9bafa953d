"""Where the names of a page lead to while it is run: a registry, a mirror and a hub on loopback, a reader's home, and
what lies in the directory that the reader is in. Engines are stand-ins that look at what they are given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tests.servers.cluster import MODELDIST
from tests.servers.hub import Hub
from tests.servers.registry import Registry
from tests.servers.small_sigstore import SmallSigstore

# vllm, sglang and a program of one's own: a model is a directory with a configuration.
ENGINE = """#!/bin/sh
for word; do case "$word" in /*) model=$word;; esac; done
test -f "$model/config.json" || test "$HF_HUB_OFFLINE" = 1
"""


@dataclass(frozen=True)
class World:
    """`places`: what stands for a page's names. `registry` is registry.example, `hub` the URL of huggingface.co."""

    places: dict[str, str]
    registry: Registry
    hub: str


@contextmanager
def new_world(home: Path) -> Iterator[World]:
    with (
        Registry(home / "registry", delete=True) as here,
        Registry(home / "mirror", delete=True) as there,
        Hub() as hub,
    ):
        files = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"x" * 100_000}
        for name in ("org/model", "sentence-transformers/all-MiniLM-L6-v2"):
            hub.commit(name, dict(files))
        publish(home, here.host)
        yield World({"registry.example": here.host, "mirror.example": there.host}, here, hub.url)


def publish(home: Path, host: str) -> None:
    """org/model:v1 and v2, which differ in one tensor, and v2 once more as org/model:tag."""
    model = home / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 2}')
    rng = np.random.default_rng(7)
    tensors = {f"model.layers.{n}.mlp.up_proj.weight": rng.random((256, 256), dtype=np.float32) for n in range(8)}
    environment = {**os.environ, "MODELDIST_STORE": str(home / "store"), "HOME": str(home)}
    for tag in ("v1", "v2", "tag"):
        save_file(tensors, model / "model.safetensors")
        for arguments in (("build", str(model), "-t", f"{host}/org/model:{tag}"), ("push", f"{host}/org/model:{tag}")):
            subprocess.run([*MODELDIST, *arguments], env=environment, check=True, capture_output=True)
        if tag == "v1":
            tensors["model.layers.7.mlp.up_proj.weight"] += 1


def shell(home: Path, world: World) -> dict[str, str]:
    programs = home / "bin"
    programs.mkdir(parents=True)
    for name in ("vllm", "sglang"):
        (programs / name).write_text(ENGINE)
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELDIST_", "HF_", "DOCKER_"))}
    (home / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")  # an answer that is an error ends the page
    return kept | {
        "HOME": str(home),
        "PATH": os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"])),
        "MODELDIST_STORE": str(home / "store"),
        "MODELDIST_SOCKET": str(home / "agent.sock"),
        "MODELDIST_REGISTRY": world.places["registry.example"],
        "HF_ENDPOINT": world.hub,
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }


def room_of(tmp_path: Path) -> Path:
    """What the pages suppose a reader to have in the directory."""
    room = tmp_path / "room"
    for name in ("model", "my-model"):
        folder = room / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"model_type": "llama"}')
        save_file({"weight": np.ones((64, 64), dtype=np.float32)}, folder / "model.safetensors")
    SmallSigstore().trust_root(room / "trusted_root.json")
    (room / "serve.py").write_text("import pathlib, sys\nassert (pathlib.Path(sys.argv[2]) / 'config.json').exists()\n")
    return room
