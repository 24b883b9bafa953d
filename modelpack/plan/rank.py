"""One rank of a parallel deployment: `tp=0/4`, `pp=1/2`, `ep=3/8`, combined by commas."""

from __future__ import annotations

import re

import msgspec

from modelpack.errors import InvalidSelection

MAX_SIZE = 65_536  # ranks of one group; the largest deployments have a few thousand

_SLOT = re.compile(r"(tp|pp|ep)=(\d{1,20})/(\d{1,20})", re.ASCII)


class Slot(msgspec.Struct, frozen=True):
    """The `rank`-th of `size` that share the work, counted from 0."""

    rank: int
    size: int

    def __str__(self) -> str:
        return f"{self.rank}/{self.size}"


class Rank(msgspec.Struct, frozen=True):
    """Its place among those that share tensors (`tp`), layers (`pp`) and experts (`ep`); None: nobody shares."""

    tp: Slot | None = None
    pp: Slot | None = None
    ep: Slot | None = None

    @classmethod
    def parse(cls, text: str) -> Rank:
        """Raises InvalidSelection naming what is wrong."""
        slots: dict[str, Slot] = {}
        for part in text.replace(" ", "").split(","):
            found = _SLOT.fullmatch(part)
            if found is None:
                raise _invalid(text, f"{part[:40]!r} is no place in a group")
            kind, slot = found[1], Slot(int(found[2]), int(found[3]))
            if kind in slots:
                raise _invalid(text, f"it gives {kind} twice")
            if not 0 < slot.size <= MAX_SIZE:
                raise _invalid(text, f"a group has 1 to {MAX_SIZE} ranks, not {slot.size}")
            if slot.rank >= slot.size:
                raise _invalid(text, f"of {slot.size} ranks the first is 0 and the last {slot.size - 1}")
            slots[kind] = slot
        return cls(**{kind: slot for kind, slot in slots.items() if slot.size > 1})

    def __str__(self) -> str:
        slots = (("tp", self.tp), ("pp", self.pp), ("ep", self.ep))
        return ",".join(f"{kind}={slot}" for kind, slot in slots if slot is not None)

    def __bool__(self) -> bool:
        """Whether anything is shared at all."""
        return bool(str(self))


def _invalid(text: str, problem: str) -> InvalidSelection:
    return InvalidSelection(
        f"The rank {text[:80]!r} is not valid: {problem}.",
        remedy="Write tp=0/4 (rank 0 of 4), pp=1/2, ep=3/8, or several with commas between.",
    )
