"""What of a model is wanted, and how that is written in one line.

    only=*.json&only=*.model&exclude=onnx/**&kind=weight&tensor=model.layers.0.*&rank=tp=0/4&weights=sharded

One selection has one such text: keys in this order, values sorted, each once, percent-encoded where they must be.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args
from urllib.parse import quote, unquote

import msgspec

from modelpack.errors import InvalidSelection
from modelpack.globs import Glob
from modelpack.mediatypes import LayerKind
from modelpack.plan.rank import Rank

Family = Literal["sharded", "consolidated", "all"]
"""Which of two sets of files with the same weights: the sharded ones, `consolidated*`, or both."""

MAX_VALUES = 64  # of one key
KEYS = ("only", "exclude", "kind", "tensor", "rank", "weights")
_PLAIN = "*/,=[]{}!?^:@+$()'~"  # stays as it is, so that people can read it
_REMEDY = "Write it like only=*.json&rank=tp=0/4; values may be percent-encoded."


class Selection(msgspec.Struct, frozen=True):
    """All empty: everything, though never the same weights twice.

    `only`, `exclude`: patterns of paths (see `modelpack.globs`), one of which must, none of which may match.
    `kinds`: of layers; empty: all. `tensors`: patterns of names; weight files without such tensors are left out.
    `rank`: only what it loads. `weights`: None takes the sharded ones where both are there.
    """

    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    kinds: tuple[LayerKind, ...] = ()
    tensors: tuple[str, ...] = ()
    rank: Rank = Rank()
    weights: Family | None = None

    @classmethod
    def of(
        cls,
        *,
        only: Iterable[str] = (),
        exclude: Iterable[str] = (),
        kinds: Iterable[str] = (),
        tensors: Iterable[str] = (),
        rank: str = "",
        weights: str | None = None,
    ) -> Selection:
        """Checked, and in the one order that equal selections share. Raises InvalidSelection."""
        kinds = tuple(kinds)
        for kind in kinds:
            if kind not in get_args(LayerKind):
                raise InvalidSelection(
                    f"{kind[:40]!r} is no kind of layer.", remedy=f"Kinds are {', '.join(get_args(LayerKind))}."
                )
        if weights is not None and weights not in get_args(Family):
            raise InvalidSelection(
                f"{weights[:40]!r} is no choice of weights.", remedy=f"Choose {', '.join(get_args(Family))}."
            )
        return cls(
            _patterns("only", only),
            _patterns("exclude", exclude),
            tuple(sorted(set(kinds))),  # type: ignore[arg-type]  # checked above
            _patterns("tensor", tensors),
            Rank.parse(rank) if rank else Rank(),
            weights,  # type: ignore[arg-type]  # checked above
        )

    @classmethod
    def parse(cls, text: str) -> Selection:
        """The reverse of `str`; keys may come in any order. Raises InvalidSelection."""
        found: dict[str, list[str]] = {key: [] for key in KEYS}
        for part in text.split("&") if text else ():
            key, equals, value = part.partition("=")
            if not equals or key not in found:
                raise InvalidSelection(f"{part[:80]!r} is no part of a selection.", remedy=_REMEDY)
            found[key].append(unquote(value))
        for key in ("rank", "weights"):
            if len(found[key]) > 1:
                raise InvalidSelection(f"The selection {text[:80]!r} gives {key} twice.", remedy=_REMEDY)
        return cls.of(
            only=found["only"],
            exclude=found["exclude"],
            kinds=found["kind"],
            tensors=found["tensor"],
            rank=next(iter(found["rank"]), ""),
            weights=next(iter(found["weights"]), None),
        )

    def __str__(self) -> str:
        parts = [
            *(("only", value) for value in self.only),
            *(("exclude", value) for value in self.exclude),
            *(("kind", value) for value in self.kinds),
            *(("tensor", value) for value in self.tensors),
            *((("rank", str(self.rank)),) if self.rank else ()),
            *((("weights", self.weights),) if self.weights else ()),
        ]
        return "&".join(f"{key}={quote(value, safe=_PLAIN)}" for key, value in parts)

    def __bool__(self) -> bool:
        return bool(str(self))

    @property
    def needs_headers(self) -> bool:
        """Whether weight files have to be looked into."""
        return bool(self.tensors or self.rank)


def _patterns(key: str, given: Iterable[str]) -> tuple[str, ...]:
    values = tuple(sorted(set(given)))
    if len(values) > MAX_VALUES:
        raise InvalidSelection(f"The selection has {len(values)} patterns for {key}; at most {MAX_VALUES} are taken.")
    for value in values:
        Glob(value)
    return values


def as_document(selection: Selection) -> dict[str, Any]:
    """For JSON: what is set, as in `Selection.of`."""
    document = {
        "only": list(selection.only),
        "exclude": list(selection.exclude),
        "kinds": list(selection.kinds),
        "tensors": list(selection.tensors),
        "rank": str(selection.rank),
        "weights": selection.weights,
    }
    return {key: value for key, value in document.items() if value}
