"""Made-up models: incompressible shards, prepared and pushed before anything is timed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.netlab.namespaces import LabError
from tests.netlab.scenario import MIB, LabScenario

MODELDIST = [sys.executable, "-m", "modeldist"]


@dataclass(frozen=True)
class Model:
    """Files in `folder` by name with their sha256; `reference` is where modeldist finds it, `urls` where the blobs of
    these files lie in the registry, `hub` its name at the Hugging Face shaped server."""

    folder: Path
    digests: dict[str, str]
    sizes: dict[str, int]
    reference: str
    urls: dict[str, str]
    hub: str

    @property
    def size(self) -> int:
        return sum(self.sizes.values())

    def wrong_in(self, folder: Path) -> list[str]:
        """Files that are not in `folder` with the right content."""
        return [name for name, digest in self.digests.items() if _sha256(folder / name) != digest]


def make(scenario: LabScenario, folder: Path) -> dict[str, str]:
    """Write the shards; their sha256 by name."""
    folder.mkdir(parents=True)
    digests = {}
    for number, size in enumerate(scenario.shards):
        path = folder / f"model-{number:05d}-of-{len(scenario.shards):05d}.safetensors"
        with path.open("wb") as file:
            for start in range(0, size, MIB):
                file.write(os.urandom(min(MIB, size - start)))
        digests[path.name] = _sha256(path)
    return digests


def push(folder: Path, reference: str, registry: str, inside: list[str], layout: Path) -> None:
    """Build a ModelPack and push it from within the registry's own namespace, so that no shaped link is crossed."""
    _modeldist([], "build", str(folder), "-t", reference, "-o", str(layout))
    _modeldist(inside, "push", reference, "--layout", str(layout), "--plain-http", registry)
    shutil.rmtree(layout)


def _modeldist(inside: list[str], *arguments: str) -> Any:
    done = subprocess.run([*inside, *MODELDIST, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"modeldist {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _sha256(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
