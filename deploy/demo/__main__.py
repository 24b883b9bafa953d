"""The main job, end to end: a real model leaves a real registry once and arrives verified on four nodes.

    python -m deploy.demo        (what `make demo` runs)

Builds a ModelPack from a model that ships inside a Python package, pushes it to Debian's docker-registry (an OCI layout
on disk serves as the origin where that is not installed), starts a control plane and four agents, pulls on all four at
once, and prints where each node's bytes came from, with the registry's own access log as the witness.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from safetensors import safe_open

from deploy.demo.model import fetch_model
from tests.servers.cluster import MODELDIST, Cluster, finish
from tests.servers.registry import BINARY, Registry

NODES = 4
CACHE = Path(".cache/demo")
NAME = "sentence-transformers/all-minilm-l6-v2:v1"
MB = 1e6

console = Console(soft_wrap=True)


@dataclass
class Origin:
    """Where the four nodes will pull from. `registry` None: an OCI layout stands in."""

    reference: str
    registry: Registry | None
    files: tuple[Path, ...] = ()


def main() -> int:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    model = fetch_model(CACHE)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="modeldist-demo-") as home, _origin(Path(home), model) as origin:
        with Cluster(Path(home), NODES, file_roots=origin.files) as cluster:
            console.print(f"control plane {cluster.url}, {NODES} agents; pulling on all of them at once")
            results = _pull_everywhere(cluster, origin.reference)
        good = _show(results, origin)
        _show_tensors(Path(results[0]["path"]))
        console.print(f"{time.monotonic() - began:.1f} s since the model was there")
    return 0 if good else 1


@contextmanager
def _origin(home: Path, model: Path) -> Iterator[Origin]:
    layout = home / "layout"
    if shutil.which(BINARY) is None:
        console.print(f"{BINARY} is not installed here: an OCI layout on disk is the origin instead of a registry")
        _run("build", str(model), "-t", f"demo.example/{NAME}", "-o", str(layout))
        yield Origin(f"oci-layout:{layout}", None, (layout,))
        return
    with Registry(home / "registry") as registry:
        reference = f"{registry.host}/{NAME}"
        _run("build", str(model), "-t", reference, "-o", str(layout))
        _run("push", reference, "--layout", str(layout))
        console.print(f"pushed {reference}")
        registry.clear_log()
        yield Origin(reference, registry)


def _run(*arguments: str) -> None:
    done = subprocess.run([*MODELDIST, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"demo: modeldist {' '.join(arguments)} failed:\n{done.stderr}")


def _pull_everywhere(cluster: Cluster, reference: str) -> list[dict[str, Any]]:
    return [finish(pull) for pull in [cluster.pull(index, reference) for index in range(NODES)]]


def _show(results: list[dict[str, Any]], origin: Origin) -> bool:
    """Print the table; True when every file of every node is right and the origin was read once."""
    table = Table("node", "seconds", "from origin", "from peers", "sha256 of every file")
    everything_right = True
    for index, result in enumerate(results):
        right, wrong = _verify(result)
        everything_right &= not wrong
        verdict = f"{right} right" if not wrong else f"{wrong} WRONG"
        table.add_row(
            f"node-{index}",
            f"{result['seconds']:.2f}",
            f"{result['origin'] / MB:.1f} MB",
            f"{result['peers'] / MB:.1f} MB",
            verdict,
        )
    console.print(table)
    unique = results[0]["size"]
    read = sum(result["origin"] for result in results)
    witness = "our own counters"
    if origin.registry is not None:
        shards = {shard["digest"] for shard in results[0]["shards"]}
        log = origin.registry.access_log()
        read = sum(access.bytes for access in log if access.method == "GET" and access.blob in shards)
        witness = "the registry's access log"
    console.print(f"origin ratio A = {read / unique:.4f}: {read:,} bytes read of {unique:,} unique, by {witness}")
    return everything_right and read == unique


def _verify(result: dict[str, Any]) -> tuple[int, int]:
    """Hash what lies in the snapshot with nothing of modeldist: (files right, files wrong)."""
    right = wrong = 0
    for shard in result["shards"]:
        found = hashlib.sha256((Path(result["path"]) / shard["path"]).read_bytes()).hexdigest()
        right, wrong = (right + 1, wrong) if f"sha256:{found}" == shard["digest"] else (right, wrong + 1)
    return right, wrong


def _show_tensors(snapshot: Path) -> None:
    with safe_open(snapshot / "model.safetensors", framework="np") as tensors:
        names = list(tensors.keys())
        console.print(f"{len(names)} tensors in node-0's model.safetensors, the first five:")
        for name in names[:5]:
            console.print(f"  {name} {tensors.get_tensor(name).shape}")


if __name__ == "__main__":
    sys.exit(main())
