"""How a deployment is divided among ranks: `tp=4`, `tp=4,pp=2`; and all the ranks that it has."""

from __future__ import annotations

import re
from itertools import product

import msgspec

from modelpack.errors import InvalidSelection
from modelpack.plan.rank import Rank, Slot

MAX_RANKS = 1024  # for which files are cut; each is asked about each tensor

_SIZE = re.compile(r"(tp|pp|ep)=(\d{1,20})", re.ASCII)


class Layout(msgspec.Struct, frozen=True):
    """How many share tensors (`tp`), layers (`pp`) and experts (`ep`); 1: nobody shares."""

    tp: int = 1
    pp: int = 1
    ep: int = 1

    @classmethod
    def parse(cls, text: str) -> Layout:
        """A number alone means `tp`. Raises InvalidSelection naming what is wrong."""
        sizes: dict[str, int] = {}
        plain = text.replace(" ", "")
        for part in (f"tp={plain}" if plain.isascii() and plain.isdigit() else plain).split(","):
            found = _SIZE.fullmatch(part)
            if found is None:
                raise _invalid(text, f"{part[:40]!r} is no number of ranks")
            if found[1] in sizes:
                raise _invalid(text, f"it gives {found[1]} twice")
            sizes[found[1]] = int(found[2])
        layout = cls(**sizes)
        if not 1 < layout.count <= MAX_RANKS:
            raise _invalid(text, f"it has {layout.count} ranks, not 2 to {MAX_RANKS}")
        return layout

    @property
    def count(self) -> int:
        """Number of ranks."""
        return self.tp * self.pp * self.ep

    def ranks(self) -> tuple[Rank, ...]:
        """All of them: `tp` fastest, then `pp`, then `ep`."""
        return tuple(
            Rank(tp=_slot(tp, self.tp), pp=_slot(pp, self.pp), ep=_slot(ep, self.ep))
            for ep, pp, tp in product(range(self.ep), range(self.pp), range(self.tp))
        )

    def __str__(self) -> str:
        sizes = (("tp", self.tp), ("pp", self.pp), ("ep", self.ep))
        return ",".join(f"{kind}={size}" for kind, size in sizes if size > 1)


def _slot(rank: int, size: int) -> Slot | None:
    return Slot(rank, size) if size > 1 else None


def _invalid(text: str, problem: str) -> InvalidSelection:
    return InvalidSelection(
        f"The layout {text[:80]!r} is not valid: {problem}.",
        remedy="Write tp=4 (tensor parallel), pp=2 (pipeline), ep=8 (experts), or several with commas between.",
    )
