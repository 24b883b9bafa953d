"""What the formats beside ModelPack share: configs that say less, and layers that carry no name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from modelpack.config import MAX_CONFIG_BYTES
from modelpack.deviations import CONFIG_BLOB, Deviations
from modelpack.digests import digest_problem
from modelpack.document import read_object
from modelpack.errors import InvalidConfig


def config_document(raw: bytes, deviations: Deviations) -> dict[str, Any]:
    """The config as an object; empty, with a warning, when it is none: the files do not depend on it."""
    try:
        return read_object(raw, limit=MAX_CONFIG_BYTES, what="model config", error=InvalidConfig)
    except InvalidConfig as problem:
        deviations.warn("config-unreadable", problem.message, CONFIG_BLOB)
        return {}


def section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A member that is an object, else an empty one."""
    member = document.get(name)
    return member if isinstance(member, dict) else {}


def text(members: Mapping[str, Any], name: str) -> str:
    """A member that is a text, else an empty one."""
    member = members.get(name)
    return member if isinstance(member, str) else ""


def texts(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A member that is a list of texts, else an empty tuple."""
    member = members.get(name)
    return tuple(item for item in member if isinstance(item, str)) if isinstance(member, list) else ()


def root_diff_ids(document: Mapping[str, Any]) -> tuple[str, ...]:
    """`rootfs.diff_ids`, as image configs have it; only those that are digests."""
    listed = texts(section(document, "rootfs"), "diff_ids")
    return tuple(diff_id for diff_id in listed if not digest_problem(diff_id))


class Positions:
    """Names for layers that have none, by their position among those of one name.

    A weight that is one of several is called as split files are (model-00001-of-00002.gguf), so that engines find
    them; another file that is one of several gets a number (LICENSE-2).
    """

    def __init__(self, names: list[str]) -> None:
        self._totals = Counter(names)
        self._seen: Counter[str] = Counter()

    def next(self, name: str, *, is_weight: bool) -> str:
        self._seen[name] += 1
        number, total = self._seen[name], self._totals[name]
        stem, dot, suffix = name.rpartition(".")
        if not dot:
            stem, suffix = name, ""
        if total == 1 or (number == 1 and not is_weight):
            return name
        return f"{stem}-{number:05}-of-{total:05}{dot}{suffix}" if is_weight else f"{stem}-{number}{dot}{suffix}"
