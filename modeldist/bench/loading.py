"""What an engine on the CPU does with weights, as a program: each into memory of its own, widened to float32.

`python -m modeldist.bench.loading load SNAPSHOT SINCE` loads what was pulled, by safetensors. `… stream REFERENCE
SINCE` loads it while it arrives, and compares with what the snapshot has then. Both print seconds since SINCE (of the
epoch), when whoever waits for them began to wait.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def _widened(tensor: Any) -> Any:
    return tensor.astype(np.float32)


def _pulled(snapshot: Path) -> Iterator[tuple[str, Any]]:
    from safetensors import safe_open

    for path in sorted(snapshot.glob("*.safetensors")):
        with safe_open(path, framework="np") as file:
            for name in file.offset_keys():
                yield name, file.get_tensor(name)


def load(snapshot: str, since: float) -> dict[str, object]:
    weights, first = {}, 0.0
    for name, tensor in _pulled(Path(snapshot)):
        weights[name] = _widened(tensor)
        first = first or time.time() - since
    return {"first": first, "last": time.time() - since, "tensors": len(weights)}


def stream(reference: str, since: float) -> dict[str, object]:
    import modeldist

    weights, times = {}, []
    with modeldist.stream(reference, framework="np") as tensors:
        for name, tensor in tensors:
            weights[name] = _widened(tensor)
            times.append(time.time() - since)
        complete = time.time() - since
        snapshot = tensors.wait_complete()
    same = 0
    for name, tensor in _pulled(snapshot):
        same += np.array_equal(weights.pop(name).view(np.uint32), _widened(tensor).view(np.uint32))
    return {
        "first": times[0],
        "last": times[-1],
        "complete": complete,
        "tensors": len(times),
        "same": same,
        "left": len(weights),
    }


if __name__ == "__main__":
    print(json.dumps({"load": load, "stream": stream}[sys.argv[1]](sys.argv[2], float(sys.argv[3]))))
