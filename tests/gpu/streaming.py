"""Streams a model to a GPU and compares: `python -m tests.gpu.streaming [--size MiB] [--rate MB/s] [--device cuda]`.

Needs the repository with its runtime dependencies, torch and numpy. What it checks, bit by bit against what safetensors
loads: every tensor, of several types, used at once on the stream that is current, which is not the default one; while
others are freed and their memory is used again; slices; and that a second reading from the store is the same. It prints
how long a stream takes beside a pull that is loaded when it has ended, and `all right` in the end. `--device cpu` tries
the script itself.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open as safetensors_open
from safetensors.torch import load_file, save_file

import modeldist
from modeldist.agent.this_node import Node, node
from modeldist.arriving import open_model
from modeldist.bench.shaped_link import shaped_link
from modeldist.streaming import safe_open

MIB = 1 << 20
TYPES = ("bfloat16", "float16", "float32", "float8_e4m3fn", "int8")
FILES = 3
NAME = "org/model"


def write_model(folder: Path, size: int) -> None:
    """Tensors from nothing to a quarter of a file, larger than a pinned buffer and smaller."""
    torch.manual_seed(1)
    for number in range(FILES):
        share = size // FILES
        sizes = [share // 4, share // 4, *(share // 16 for _ in range(7)), 1 * MIB, 100 * 64, 64, 0]
        tensors: dict[str, Any] = {}
        for place, bytes_ in enumerate(sizes):
            kind = getattr(torch, TYPES[(place + number) % len(TYPES)])
            raw = torch.randint(0, 256, (bytes_ // 1024 * 1024 or bytes_,), dtype=torch.uint8)
            tensors[f"layers.{number}.{place}.weight"] = raw.view(kind).reshape(-1, 16) if bytes_ else raw.view(kind)
        tensors[f"layers.{number}.scale"] = torch.tensor(3.5)
        save_file(tensors, folder / f"model-{number + 1:05}-of-{FILES:05}.safetensors", {"format": "pt"})
    (folder / "config.json").write_text("{}")


def serve(folder: Path) -> None:
    """In a process of its own: prints the port, until its standard input ends."""
    from tests.servers.hub import Hub

    with Hub() as hub:
        hub.commit(NAME, {path.name: path for path in sorted(folder.iterdir())})
        print(hub.port, flush=True)
        sys.stdin.read()


@contextmanager
def origin(folder: Path, rate: float | None) -> Iterator[str]:
    """Its URL."""
    command = [sys.executable, "-m", "tests.gpu.streaming", "--serve", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        port = int(process.stdout.readline())
        with shaped_link(port, rate * 1e6) if rate else nullcontext(port) as shaped:
            yield f"http://127.0.0.1:{shaped}"
        process.stdin.close()


def bits(tensor: Any) -> Any:
    return tensor.reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)


def finish(device: Any) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def own_stream(device: Any) -> Any:
    return torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()


def expected(snapshot: Path) -> dict[str, Any]:
    """On the CPU, by safetensors."""
    found: dict[str, Any] = {}
    for path in sorted(snapshot.glob("*.safetensors")):
        found.update(load_file(path))
    return found


def same(found: dict[str, Any], right: dict[str, Any], device: Any) -> None:
    assert found.keys() == right.keys(), found.keys() ^ right.keys()
    for name, tensor in found.items():
        other = right[name]
        assert tensor.device.type == device.type, (name, tensor.device)
        assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape), name
        assert torch.equal(bits(tensor).cpu(), bits(other).cpu()), name


def streamed(here: Node, device: Any) -> tuple[dict[str, Any], float, float, Path]:
    """All tensors, seconds until the first and the last could be used, and the snapshot."""
    found, first, began = {}, 0.0, time.monotonic()
    with modeldist.stream(f"hf://{NAME}", device=device, here=here) as tensors:
        for name, tensor in tensors:
            found[name] = tensor
            if not first:
                finish(device)
                first = time.monotonic() - began
        finish(device)
        return found, first, time.monotonic() - began, tensors.wait_complete()


def used_at_once(here: Node, right: dict[str, Any], device: Any) -> None:
    """On a stream of its own, without a wait; each tensor is freed when the next one comes."""
    sums = {}
    with own_stream(device):
        for name, tensor in modeldist.stream(f"hf://{NAME}", device=device, here=here):
            sums[name] = bits(tensor).to(torch.int64).sum()
            junk = torch.full((tensor.numel() + 1,), 7, dtype=torch.uint8, device=device)  # where others were
            del tensor, junk
        finish(device)
    assert {name: int(found) for name, found in sums.items()} == {
        name: int(bits(tensor).to(torch.int64).sum()) for name, tensor in right.items()
    }


def opened(here: Node, snapshot: Path, device: Any) -> None:
    path = sorted(snapshot.glob("*.safetensors"))[0]
    with (
        safetensors_open(path, "pt", device=str(device)) as theirs,
        safe_open(f"hf://{NAME}", "pt", device=device, files=path.name, here=here) as ours,
    ):
        assert ours.keys() == list(theirs.keys())
        for name in theirs.keys():  # noqa: SIM118
            assert torch.equal(bits(ours.get_tensor(name)).cpu(), bits(theirs.get_tensor(name)).cpu()), name
        name = "layers.0.1.weight"
        for index in (slice(3, 9), slice(-2, None), (slice(5, 70), slice(1, 3))):
            assert torch.equal(bits(ours.get_slice(name)[index]).cpu(), bits(theirs.get_slice(name)[index]).cpu())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=3072, help="MiB of the model")
    parser.add_argument("--rate", type=float, help="MB/s of the link; default: as fast as it goes")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--directory", type=Path, help="where the model and the stores are made")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    device = torch.device(options.device)
    about = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {about}, {os.cpu_count()} cores", flush=True)
    finish(device)
    torch.zeros(1, device=device)  # the device's own start is nobody's here
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        folder = Path(directory)
        (folder / "content").mkdir()
        write_model(folder / "content", options.size * MIB)
        with origin(folder / "content", options.rate) as url:
            compare(folder, url, device)
    print("all right")


def compare(folder: Path, url: str, device: Any) -> None:
    apart = node(store=folder / "apart", hf_endpoint=url, agent=False)
    began = time.monotonic()
    with open_model(f"hf://{NAME}", here=apart) as model:
        snapshot = model.wait_complete()
    pulled = time.monotonic()
    loaded = {}
    for path in sorted(snapshot.glob("*.safetensors")):
        loaded.update(load_file(path, device=str(device)))
    finish(device)
    ended = time.monotonic()
    print(f"pull {pulled - began:.2f} s, load {ended - pulled:.2f} s, together {ended - began:.2f} s", flush=True)
    right = expected(snapshot)
    same(loaded, right, device)
    del loaded
    here = node(store=folder / "streamed", hf_endpoint=url, agent=False)
    found, first, last, _ = streamed(here, device)
    together = ended - began
    print(
        f"stream: first tensor {first:.2f} s ({first / together:.2f}), last {last:.2f} s ({last / together:.2f})",
        flush=True,
    )
    same(found, right, device)
    del found
    found, first, last, _ = streamed(here, device)
    print(f"stream from the store: first tensor {first:.2f} s, last {last:.2f} s", flush=True)
    same(found, right, device)
    del found
    used_at_once(here, right, device)
    opened(here, snapshot, device)


if __name__ == "__main__":
    main()
