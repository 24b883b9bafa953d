"""From an arriving file to a GPU: through two pinned buffers, so that one is read while the other is copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from modeldist.arriving.file import ArrivingFile
from modeldist.streaming.reads import read_into
from modeldist.streaming.torch_ import bytes_of

BUFFER = 32 << 20  # bytes; copies of that size run at the bus's rate, and two of them are no burden
BUFFERS = 2


class _Buffer:
    def __init__(self, device: Any) -> None:
        self.memory = torch.empty(BUFFER, dtype=torch.uint8, pin_memory=True)
        self.view = bytes_of(self.memory)
        self.copied = torch.cuda.Event()  # the last copy out of it has ended
        with torch.cuda.device(device):
            self.copied.record()


class CudaCopies:
    """One thread. Copies run on a stream of their own. What `load` returns may be used at once on the stream that is
    current there: that waits for the copy, and the host does not."""

    def __init__(self, device: Any) -> None:
        index = device.index if device.index is not None else torch.cuda.current_device()
        self._device = torch.device("cuda", index)
        self._stream = torch.cuda.Stream(self._device)
        self._buffers = [_Buffer(self._device) for _ in range(BUFFERS)]
        self._turn = 0

    def load(self, file: ArrivingFile, ranges: Sequence[tuple[int, int]]) -> Any:
        """These bytes, as uint8."""
        current = torch.cuda.current_stream(self._device)
        size = sum(stop - start for start, stop in ranges)
        target = torch.empty(size, dtype=torch.uint8, device=self._device)
        # Its memory may be that of a tensor that was freed, and that work queued on the current stream still uses.
        self._stream.wait_stream(current)
        at = 0
        for start, stop in ranges:
            for begin in range(start, stop, BUFFER):
                count = min(stop - begin, BUFFER)
                self._copy(file, begin, count, target[at : at + count])
                at += count
        target.record_stream(self._stream)  # should it be freed before the copy has ended
        current.wait_stream(self._stream)
        return target

    def _copy(self, file: ArrivingFile, start: int, count: int, target: Any) -> None:
        buffer = self._buffers[self._turn]
        self._turn = (self._turn + 1) % BUFFERS
        buffer.copied.synchronize()  # before it is filled again
        read_into(file, start, buffer.view[:count])
        with torch.cuda.stream(self._stream):
            target.copy_(buffer.memory[:count], non_blocking=True)
            buffer.copied.record(self._stream)

    def close(self) -> None:
        """Raises what a copy failed of."""
        self._stream.synchronize()
