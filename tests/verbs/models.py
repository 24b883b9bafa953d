"""Models that the tests in the machine pull. They are made and pushed before it boots: in there everything is emulated,
and takes twenty times as long."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers.registry import Registry

MIB = 1 << 20
SIZE = 48 * MIB
NAMES = ("first", "second", "third")
WEIGHTS = "model.safetensors"
_MODELDIST = [sys.executable, "-m", "modeldist"]


def publish(folder: Path) -> None:
    """One ModelPack for each of NAMES, of one file of SIZE random bytes and a small one, in the storage of a registry
    in `folder`; what was there before is replaced. Raises CalledProcessError."""
    shutil.rmtree(folder, ignore_errors=True)
    environment = {
        **os.environ,
        "MODELDIST_STORE": str(folder / "store"),
        "MODELDIST_SOCKET": str(folder / "no-agent.sock"),
    }
    with Registry(folder / "registry") as registry:
        for name in NAMES:
            source = folder / name
            source.mkdir()
            (source / WEIGHTS).write_bytes(_safetensors(SIZE))
            (source / "config.json").write_text('{"model_type": "bert"}')
            there = reference(registry.host, name)
            for arguments in (["build", str(source), "-t", there], ["push", there, "--plain-http", registry.host]):
                subprocess.run([*_MODELDIST, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder / "store")


def reference(host: str, name: str) -> str:
    return f"{host}/org/{name}:v1"


def storage(folder: Path) -> Path:
    """What a registry that serves them has as its `storage`."""
    return folder / "registry" / "storage"


def _safetensors(size: int) -> bytes:
    """One tensor, and the file's whole size is `size`."""
    header = b'{"w":{"dtype":"U8","shape":[%09d],"data_offsets":[0,%09d]}}'
    room = size - 8 - len(header % (0, 0))
    header = (b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (room, room)).ljust(size - 8 - room)
    return len(header).to_bytes(8, "little") + header + os.urandom(room)
