"""How full a node may get: no pull goes above the high mark, and models are evicted for it down to the low one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modeldist.agent.amounts import parse_size
from modeldist.errors import UsageError

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_BELOW = 0.9  # of the high mark is the low one, where none is given


@dataclass(frozen=True)
class ToFree:
    """Bytes: `least` for the high mark to hold, `wanted` for the low one, or `least` where what comes is larger."""

    least: int
    wanted: int


@dataclass(frozen=True)
class Watermarks:
    """`of_disk`: shares (0 to 1) of what the store's filesystem can hold, whoever fills it, as `df` counts; else bytes
    of disk that the store itself takes."""

    high: float
    low: float
    of_disk: bool

    def to_free(self, used: int, coming: int, capacity: int) -> ToFree | None:
        """`used` bytes are taken and `coming` more will be. None where that is not above the high mark."""
        high, low = self._bytes(self.high, capacity), self._bytes(self.low, capacity)
        after = used + coming
        if after <= high:
            return None
        return ToFree(after - high, after - low if coming <= low else after - high)

    def _bytes(self, mark: float, capacity: int) -> int:
        return int(mark * capacity) if self.of_disk else int(mark)

    def __str__(self) -> str:
        return " to ".join(f"{mark:.4g}%" if self.of_disk else f"{mark:,.0f} bytes" for mark in self._shown())

    def _shown(self) -> tuple[float, float]:
        return (100 * self.low, 100 * self.high) if self.of_disk else (self.low, self.high)

    @property
    def high_text(self) -> str:
        return f"{100 * self.high:.4g}%" if self.of_disk else f"{self.high:,.0f} bytes"


def watermarks(high: str, low: str) -> Watermarks | None:
    """Of `90%` or `500GiB`, each; None where both are empty. Raises UsageError."""
    if not high:
        if low:
            raise UsageError(
                f"A low watermark of {low} without a high one evicts nothing.", remedy="Add --high-watermark."
            )
        return None
    top, of_disk = _mark(high, "high")
    bottom, low_of_disk = _mark(low, "low") if low else (top * _BELOW, of_disk)
    if of_disk != low_of_disk:
        raise UsageError(
            f"The watermarks {high} and {low} cannot be compared.",
            remedy="Give both as a share of the disk (90%, 80%), or both as sizes of the store (500GiB, 400GiB).",
        )
    if bottom >= top:
        raise UsageError(
            f"The low watermark ({low}) must be below the high one ({high}): between them is what is evicted at a time."
        )
    return Watermarks(top, bottom, of_disk)


def _mark(text: str, which: str) -> tuple[float, bool]:
    if found := _SHARE.fullmatch(text.strip()):
        share = float(found[1]) / 100
        if not 0 < share <= 1:
            raise UsageError(
                f"The {which} watermark {text} is no share of a disk.", remedy="It is above 0%, up to 100%."
            )
        return share, True
    try:
        size = parse_size(text)
    except UsageError:
        size = 0
    if size <= 0:
        raise UsageError(
            f"The {which} watermark {text!r} is neither a share nor a size.", remedy="Write it like 90% or 500GiB."
        )
    return float(size), False
