"""What tensors are made in: numpy, or torch on a device."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Protocol

from modeldist.arriving.file import ArrivingFile
from modeldist.errors import Unsupported, UsageError

Ranges = Sequence[tuple[int, int]]


class Framework(Protocol):
    in_its_thread: bool
    """Whether `load` is to be called in the thread that uses the tensors; else it may be done beside it."""

    def load(self, file: ArrivingFile, ranges: Ranges, dtype: str, shape: tuple[int, ...]) -> Any:
        """A tensor of its own memory, of these bytes of the file, which are ready. `dtype` as safetensors has it."""

    def close(self) -> None:
        """Every tensor is complete once this returns."""


def framework(name: str | None, device: Any) -> Framework:
    """`name`: "pt", "torch", "np", "numpy"; None: torch where it is installed or a device is named, else numpy.
    `device`: what torch takes for one; with numpy only the CPU. Raises UsageError, Unsupported."""
    if name is None:
        name = "pt" if device not in (None, "cpu") or find_spec("torch") else "np"
    if name in ("pt", "torch", "pytorch"):
        if not find_spec("torch"):
            raise Unsupported("torch is not installed.", remedy="Install it, or ask for numpy: framework='np'.")
        from modeldist.streaming.torch_ import TorchTensors

        return TorchTensors("cpu" if device is None else device)
    if name not in ("np", "numpy"):
        raise UsageError(f"The framework {name!r} is not known.", remedy="Give 'pt' or 'np'.")
    if device not in (None, "cpu"):
        raise UsageError(f"numpy has no device {device!r}.", remedy="Leave it out, or use torch: framework='pt'.")
    if not find_spec("numpy"):
        raise Unsupported(
            "Neither torch nor numpy is installed.",
            remedy="Install torch, or numpy: `pip install 'modeldist[stream]'` has it.",
        )
    from modeldist.streaming.numpy_ import NumpyArrays

    return NumpyArrays()
