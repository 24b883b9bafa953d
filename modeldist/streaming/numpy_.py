"""Tensors as numpy arrays.

numpy has no bfloat16 and no 8-bit floats. Where ml_dtypes is installed its types are used; without it these tensors are
their bits, as unsigned integers of the same size (BF16: uint16, F8_*: uint8), which `.view()` turns into what is meant.
Types smaller than a byte (F4, F6_*) are the bytes that the file has, as one row of uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from modeldist.arriving.file import ArrivingFile
from modeldist.streaming.reads import read_into

_TYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "I32": "<i4",
    "U32": "<u4",
    "F32": "<f4",
    "I64": "<i8",
    "U64": "<u8",
    "F64": "<f8",
    "C64": "<c8",
}
_ML_DTYPES = {
    "BF16": ("bfloat16", "<u2"),
    "F8_E4M3": ("float8_e4m3fn", "uint8"),
    "F8_E5M2": ("float8_e5m2", "uint8"),
    "F8_E8M0": ("float8_e8m0fnu", "uint8"),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", "uint8"),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", "uint8"),
}
"""As safetensors names them: the name in ml_dtypes, and the type of the bits."""


def numpy_dtype(name: str) -> np.dtype[Any] | None:
    """Of a dtype of safetensors; None where its elements are smaller than a byte."""
    if name in _TYPES:
        return np.dtype(_TYPES[name])
    if name not in _ML_DTYPES:
        return None
    known, bits = _ML_DTYPES[name]
    if find_spec("ml_dtypes"):
        import ml_dtypes

        if (found := getattr(ml_dtypes, known, None)) is not None:
            type_: np.dtype[Any] = np.dtype(found)
            return type_
    return np.dtype(bits)


class NumpyArrays:
    """See `Framework`."""

    in_its_thread = False

    def load(
        self, file: ArrivingFile, ranges: Sequence[tuple[int, int]], dtype: str, shape: tuple[int, ...]
    ) -> np.ndarray[Any, Any]:
        raw = np.empty(sum(stop - start for start, stop in ranges), np.uint8)
        view, at = raw.data, 0
        for start, stop in ranges:
            read_into(file, start, view[at : at + stop - start])
            at += stop - start
        known = numpy_dtype(dtype)
        return raw if known is None else raw.view(known).reshape(shape)

    def close(self) -> None:
        """They are complete from the first."""
