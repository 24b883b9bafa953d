"""Strict JSON documents from registries: one object, no duplicate keys, no invalid text, bounded size and depth.

A parser that keeps the last of two equal keys and one that keeps the first see different documents under one
digest; so a duplicate is an error here.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec

from modelpack.errors import ModelPackError

_REMEDY = "Ask its publisher to push the artifact again; nothing of it was used."
MAX_PARTS = (
    3_000_000  # objects and lists of one document: a million tensors have as many; each takes more than its bytes
)
MAX_MEMBERS = 10_000_000  # of all of them together
MAX_DEPTH = 64  # of objects and lists in each other; readers may recurse into a document this deep without fear


def read_object(raw: bytes, *, limit: int, what: str, error: type[ModelPackError]) -> dict[str, Any]:
    """Parse `raw` (at most `limit` bytes) as one JSON object. Raises `error`, naming `what`."""

    def refused(problem: str) -> ModelPackError:
        return error(f"The {what} {problem}.", remedy=_REMEDY)

    if len(raw) > limit:
        raise refused(f"has {len(raw)} bytes; at most {limit} are read")
    if raw.count(b"[") + raw.count(b"{") > MAX_PARTS or raw.count(b",") > MAX_MEMBERS:
        raise refused(f"has more than {MAX_PARTS} objects and lists, or {MAX_MEMBERS} members")
    try:
        msgspec.json.decode(raw)  # stricter than the standard library: no NaN, no lone surrogates
        # Readers that tell -0 from 0 refuse it as a size or an offset.
        whole = _integer if b"-0" in raw else None
        document = json.loads(raw.decode(), object_pairs_hook=_unique, parse_int=whole)
    except RecursionError:
        raise refused("is nested too deeply") from None
    except ValueError as problem:
        raise refused(f"is not valid JSON: {problem}") from None
    if not isinstance(document, dict):
        raise refused("is not a JSON object")
    if _depth(document) > MAX_DEPTH:
        raise refused("is nested too deeply")
    return document


def _integer(digits: str) -> int | float:
    return -0.0 if digits == "-0" else int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {repeated[:80]!r} appears twice in one object")
    return members


def _depth(document: dict[str, Any]) -> int:
    """How many objects and lists lie in each other; level by level, as recursion could not go deep enough."""
    depth = 0
    level: list[Any] = [document]
    while level:
        depth += 1
        members = (member for holder in level for member in (holder.values() if isinstance(holder, dict) else holder))
        level = [member for member in members if isinstance(member, dict | list)]
    return depth


def without_nulls(value: Any) -> Any:
    """Drop members that are null: Go programs write an empty list or map as null."""
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(member) for member in value]
    return value
