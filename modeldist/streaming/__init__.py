"""Tensors of a model while it arrives: numpy arrays, or torch tensors on any device.

    import modeldist
    with modeldist.stream("org/model:tag", device="cuda") as tensors:
        for name, tensor in tensors: …                    # each as soon as all of it is here

    from modeldist.streaming import safe_open             # in place of safetensors.safe_open
    with safe_open("org/model:tag", framework="pt", device="cuda") as f: …

    tensor_stream.py   stream: tensors one after the other          opened.py   safe_open: by name, and slices of them
    weights.py         which there are, and where their bytes are   reads.py    bytes of an arriving file into memory
    framework.py       numpy_.py, torch_.py                         cuda.py     copies to a GPU
    beside.py          reading while the last tensor is used

May import `modeldist.arriving` and what is below it. Neither numpy nor torch is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modeldist.streaming.opened import safe_open as safe_open
    from modeldist.streaming.tensor_stream import TensorStream as TensorStream
    from modeldist.streaming.tensor_stream import stream as stream

_HOME = {"safe_open": "opened", "TensorStream": "tensor_stream", "stream": "tensor_stream"}

__all__ = ["TensorStream", "safe_open", "stream"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if (home := _HOME.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
