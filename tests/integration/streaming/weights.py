"""Files of tensors to stream: made by safetensors itself, and by hand where numpy has no such type."""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import save


def tensors(seed: int, *, count: int = 6, rows: int = 512) -> dict[str, np.ndarray]:
    """Matrices of 1 MiB or so, and some small ones of all kinds."""
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {
        f"layers.{seed}.{number}.weight": rng.random((rows, 512), dtype=np.float32) for number in range(count)
    }
    found[f"layers.{seed}.scale"] = np.array(seed, np.float64)
    found[f"layers.{seed}.none"] = np.zeros((0, 7), np.int8)
    found[f"layers.{seed}.mask"] = rng.random((33, 3)) < 0.5
    found[f"layers.{seed}.ids"] = rng.integers(0, 2**40, (5, 2, 3))
    return found


def model(*seeds: int, **sizes: int) -> dict[str, bytes]:
    """A model of a file for each."""
    files = {
        f"model-{number:05}-of-{len(seeds):05}.safetensors": save(tensors(seed, **sizes), {"format": "pt"})
        for number, seed in enumerate(seeds, 1)
    }
    return {"config.json": b"{}", **files}


def raw(named: dict[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    """A file of tensors of any type: dtype, shape and bytes of each."""
    header, data = {}, b""
    for name, (dtype, shape, body) in named.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(body)]}
        data += body
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Bit by bit, and in shape and type."""
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()
