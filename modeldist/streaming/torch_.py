"""Tensors of torch, on any of its devices."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch

from modeldist.arriving.file import ArrivingFile
from modeldist.errors import Unsupported
from modeldist.streaming.reads import read_into

_TYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "I64": "int64",
    "U64": "uint64",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
"""As safetensors names them, and torch."""


def torch_dtype(name: str) -> Any:
    """Raises Unsupported where this torch has none."""
    found = getattr(torch, _TYPES.get(name, ""), None)
    if found is None:
        raise Unsupported(
            f"torch {torch.__version__} has no type for {name}.", remedy="Take a newer one, or numpy: framework='np'."
        )
    return found


def bytes_of(tensor: Any) -> memoryview:
    """The memory of a contiguous uint8 tensor on the CPU, which has to outlive it."""
    size = tensor.numel()
    if not size:
        return memoryview(b"")
    return memoryview((ctypes.c_char * size).from_address(tensor.data_ptr())).cast("B")


class TorchTensors:
    """See `Framework`. Tensors for a CUDA device are copied beside the reading of the next ones; whoever uses them on
    the stream that is current where they were made needs not wait."""

    def __init__(self, device: Any) -> None:
        self._device = torch.device(device if not isinstance(device, int) else f"cuda:{device}")
        self.in_its_thread = self._device.type != "cpu"  # streams are a thread's own
        self._copies: Any = None
        if self._device.type == "cuda":
            from modeldist.streaming.cuda import CudaCopies

            self._copies = CudaCopies(self._device)

    def load(self, file: ArrivingFile, ranges: Sequence[tuple[int, int]], dtype: str, shape: tuple[int, ...]) -> Any:
        kind = torch_dtype(dtype)
        if self._copies is not None:
            raw = self._copies.load(file, ranges)
        else:
            raw = torch.empty(sum(stop - start for start, stop in ranges), dtype=torch.uint8)
            view, at = bytes_of(raw), 0
            for start, stop in ranges:
                read_into(file, start, view[at : at + stop - start])
                at += stop - start
            raw = raw.to(self._device)
        return raw.view(kind).reshape(shape)

    def close(self) -> None:
        if self._copies is not None:
            self._copies.close()
