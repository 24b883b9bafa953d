"""Models whose weights are cut into files for the ranks of one layout, and the index that says which rank loads which.

modeldist-ranks.json    {"version": 1, "layout": "tp=4", "files": {path: [rank, …]}}
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from modelpack.document import read_object
from modelpack.errors import InvalidSelection, InvalidTensorIndex
from modelpack.plan.layout import Layout
from modelpack.plan.rank import Rank

RANK_INDEX = "modeldist-ranks.json"
MAX_RANK_INDEX = 16 * 1024 * 1024  # bytes; 1,024 ranks with a few thousand files

_VERSION = 1


class RankFiles(msgspec.Struct, frozen=True):
    """`files`: for each file of cut weights the ranks that load it. Files that are not named are for everybody."""

    layout: Layout
    files: Mapping[str, tuple[Rank, ...]]

    def of(self, rank: Rank) -> frozenset[str]:
        """The files that a rank loads; what several do where `rank` leaves something open (`pp=0/2` of a layout
        `tp=4,pp=2`: a whole stage). Raises InvalidSelection where the layout is another one."""
        for kind in ("tp", "pp", "ep"):
            slot, size = getattr(rank, kind), getattr(self.layout, kind)
            if slot is not None and slot.size != size:
                raise InvalidSelection(
                    f"The model's weights are cut for the ranks of {self.layout}, and {kind}={slot} is none of them.",
                    remedy=f"Ask for a rank like {self.layout.ranks()[0]}, or pull the model that is not cut.",
                )
        return frozenset(path for path, ranks in self.files.items() if any(_is_one(each, rank) for each in ranks))


def encode_rank_files(rank_files: RankFiles) -> bytes:
    return msgspec.json.format(
        msgspec.json.encode(
            {
                "version": _VERSION,
                "layout": str(rank_files.layout),
                "files": {path: [str(rank) for rank in ranks] for path, ranks in rank_files.files.items()},
            }
        )
    )


def parse_rank_files(raw: bytes, listed: Collection[str]) -> RankFiles:
    """`listed`: all paths that the model has. Raises InvalidTensorIndex."""
    document = read_object(raw, limit=MAX_RANK_INDEX, what=RANK_INDEX, error=InvalidTensorIndex)
    if document.get("version") != _VERSION:
        raise _invalid(f"it has version {str(document.get('version'))[:20]}, and {_VERSION} can be read")
    layout_text, named = document.get("layout"), document.get("files")
    if not isinstance(layout_text, str) or not isinstance(named, dict):
        raise _invalid("it lacks its layout or its files")
    files: dict[str, tuple[Rank, ...]] = {}
    try:
        layout = Layout.parse(layout_text)
        known = {str(rank): rank for rank in layout.ranks()}
        for path, ranks in named.items():
            if path not in listed:
                raise _invalid(f"it names the file {path[:200]!r}, which the model does not have")
            if not isinstance(ranks, list) or not ranks or not all(isinstance(rank, str) for rank in ranks):
                raise _invalid(f"it does not say which ranks load {path[:200]!r}")
            files[path] = tuple(known[rank] for rank in ranks)
    except InvalidSelection as error:
        raise _invalid(error.message.rstrip(".")) from error
    except KeyError as error:
        raise _invalid(f"{str(error)[:60]} is no rank of {layout}") from error
    return RankFiles(layout, files)


def _is_one(each: Rank, asked: Rank) -> bool:
    return all(
        getattr(asked, kind) is None or getattr(each, kind) == getattr(asked, kind) for kind in ("tp", "pp", "ep")
    )


def _invalid(problem: str) -> InvalidTensorIndex:
    return InvalidTensorIndex(
        f"{RANK_INDEX} is wrong: {problem}.", remedy="Pull the model whole, without --rank, and tell its publisher."
    )
