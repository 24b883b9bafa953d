"""A real model, as a ModelPack in a real registry."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers.cluster import MODELDIST
from tests.servers.registry import Registry


def publish(model: Path, registry: Registry, layout: Path) -> str:
    """Its reference. The registry's log begins after it was pushed."""
    reference = f"{registry.host}/sentence-transformers/all-minilm-l6-v2:v1"
    for command in (
        ["build", str(model), "-t", reference, "-o", str(layout)],
        ["push", reference, "--layout", str(layout)],
    ):
        subprocess.run([*MODELDIST, *command], check=True, capture_output=True)
    registry.clear_log()
    return reference
