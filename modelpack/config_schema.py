"""The ModelPack config schema, and the names its older versions used.

Each object is a table: member -> check. A check answers what is wrong, or an empty string.
Sources: the specification's schema (main branch), its version 0.0.7, and the history of its Go structs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from modelpack.deviations import Deviations
from modelpack.digests import digest_problem
from modelpack.errors import InvalidConfig
from modelpack.timestamps import is_rfc3339

Check = Callable[[Any], str]

_LANGUAGE = re.compile(r"[a-z]{2}")
_PARAM_SIZE = re.compile(r"\d+(?:\.\d)?[KMBTQ]", re.IGNORECASE | re.ASCII)
_MODALITIES = frozenset({"text", "image", "audio", "video", "embedding", "other"})


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "it is not a text"


def _filled(value: Any) -> str:
    return _text(value) or ("" if value else "it is empty")


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "it is neither true nor false"


def _moment(value: Any) -> str:
    return _text(value) or ("" if is_rfc3339(value) else "it is not a date and time of RFC 3339")


def _modality(value: Any) -> str:
    return _text(value) or ("" if value in _MODALITIES else f"{value[:40]!r} is not one of {sorted(_MODALITIES)}")


def _language(value: Any) -> str:
    return _text(value) or ("" if _LANGUAGE.fullmatch(value) else f"{value[:40]!r} is not a two-letter language code")


def _list_of(check: Check) -> Check:
    def check_list(value: Any) -> str:
        if not isinstance(value, list):
            return "it is not a list"
        return next((problem for problem in map(check, value) if problem), "")

    return check_list


def _diff_ids(value: Any) -> str:
    return _list_of(_text)(value) or ("" if value else "it is empty")


def _layers(value: Any) -> str:
    return "" if value == "layers" else "it is not 'layers'"


_DESCRIPTOR: Mapping[str, Check] = {
    "createdAt": _moment,
    "authors": _list_of(_text),
    "vendor": _text,
    "family": _text,
    "name": _filled,
    "version": _text,
    "title": _text,
    "description": _text,
    "docURL": _text,
    "sourceURL": _text,
    "datasetsURL": _list_of(_text),
    "revision": _text,
    "licenses": _list_of(_text),
}
_CONFIG: Mapping[str, Check] = {
    "architecture": _text,
    "format": _text,
    "paramSize": _text,
    "precision": _text,
    "quantization": _text,
    "capabilities": lambda value: "" if isinstance(value, dict) else "it is not an object",
}
_CAPABILITIES: Mapping[str, Check] = {
    "inputTypes": _list_of(_modality),
    "outputTypes": _list_of(_modality),
    "knowledgeCutoff": _moment,
    "reasoning": _flag,
    "toolUsage": _flag,
    "reward": _flag,
    "languages": _list_of(_language),
    "embedding": _flag,
}
_MODELFS: Mapping[str, Check] = {"type": _layers, "diffIds": _diff_ids}

_OLD_NAMES: Mapping[str, Mapping[str, str]] = {
    "config": {"puantization": "quantization", "param_size": "paramSize"},
    "config.capabilities": {
        "input_types": "inputTypes",
        "output_types": "outputTypes",
        "knowledge_cutoff": "knowledgeCutoff",
        "tool_usage": "toolUsage",
    },
    "modelfs": {"diff_ids": "diffIds"},
}


def check_document(document: dict[str, Any], deviations: Deviations) -> dict[str, Any]:
    """The document with old names brought up to date and without the members that break the schema.

    Every change is a deviation; in strict mode the first error raises InvalidConfig.
    """
    for name in document.keys() - {"descriptor", "config", "modelfs"}:
        _error(deviations, "unknown-member", name, "the specification does not know it")
    descriptor = _members(document, "descriptor", _DESCRIPTOR, deviations)
    config = _members(document, "config", _CONFIG, deviations)
    if "capabilities" in config:
        config["capabilities"] = _members(config, "capabilities", _CAPABILITIES, deviations, inside="config.")
    modelfs = _members(document, "modelfs", _MODELFS, deviations)
    for name in _MODELFS.keys() - modelfs.keys():
        if isinstance(document.get("modelfs"), dict):
            _error(deviations, "missing-member", f"modelfs.{name}", "it is missing")
    _look_closer(config, modelfs, deviations)
    return {"descriptor": descriptor, "config": config, "modelfs": modelfs}


def _members(
    parent: dict[str, Any], name: str, checks: Mapping[str, Check], deviations: Deviations, inside: str = ""
) -> dict[str, Any]:
    where = inside + name
    found = parent.get(name)
    if not isinstance(found, dict):
        problem = "it is not an object" if name in parent else "it is missing"
        _error(deviations, "missing-member", where, problem)
        return {}
    members = _renamed(found, where, deviations)
    for key in sorted(members):
        if key not in checks:
            _error(deviations, "unknown-member", f"{where}.{key}", "the specification does not know it")
            del members[key]
        elif problem := checks[key](members[key]):
            _error(deviations, "wrong-value", f"{where}.{key}", problem)
            del members[key]
    return members


def _renamed(members: dict[str, Any], where: str, deviations: Deviations) -> dict[str, Any]:
    old_names = _OLD_NAMES.get(where, {})
    renamed = {key: value for key, value in members.items() if key not in old_names}
    for old, new in old_names.items():
        if old in members:
            _error(deviations, "old-name", f"{where}.{old}", f"it is called {new} since version 0.0.7")
            renamed.setdefault(new, members[old])
    if where == "config" and _is_count(members.get("parameterSize")):
        _error(deviations, "old-name", "config.parameterSize", "it is called paramSize since version 0.0.2")
        renamed.setdefault("paramSize", short_count(renamed.pop("parameterSize")))
    return renamed


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64


def _look_closer(config: dict[str, Any], modelfs: dict[str, Any], deviations: Deviations) -> None:
    """What the schema leaves open and the specification's prose does not."""
    if "embedding" in config.get("capabilities", {}):
        deviations.warn("capabilities-embedding", "config.capabilities.embedding exists in version 0.0.7 only.")
    size = config.get("paramSize", "")
    if size and not _PARAM_SIZE.fullmatch(size):
        deviations.warn("param-size", f"config.paramSize {size[:40]!r} is not a number and one of K, M, B, T, Q.")
    for diff_id in modelfs.get("diffIds", []):
        if problem := digest_problem(diff_id):
            _error(deviations, "diff-id", f"modelfs.diffIds {diff_id[:80]!r}", problem)


def _error(deviations: Deviations, code: str, where: str, problem: str) -> None:
    deviations.error(code, f"The model config's {where[:200]} is not valid: {problem}.", InvalidConfig)


def short_count(count: int) -> str:
    """A number of parameters as `paramSize` writes it: one decimal at most and a unit (22713216 -> 22.7m)."""
    value = max(count, 100) / 1000  # the specification has no unit below thousand
    for unit in "kmbtq":
        rounded = round(value, 1)
        if rounded < 1000 or unit == "q":
            return f"{rounded:.1f}".removesuffix(".0") + unit
        value /= 1000
    raise AssertionError("unreachable")  # the last unit returns
