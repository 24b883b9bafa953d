"""The ModelPack config schema, and the names its older versions used.

Each object is a table: member -> check. A check answers what is wrong, or an empty string.
Sources: the specification's schema (main branch), its version 0.0.7, and the history of its Go structs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from modelpack.deviations import CONFIG_BLOB, Deviations, pointer_to
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
    "config": {"puantization": "quantization", "parameterSize": "paramSize"},
    "config.capabilities": {
        "input_types": "inputTypes",
        "output_types": "outputTypes",
        "knowledge_cutoff": "knowledgeCutoff",
        "tool_usage": "toolUsage",
    },
    "modelfs": {"diff_ids": "diffIds"},
}


def old_names(document: dict[str, Any]) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    """The document with the member names of older versions brought up to date; for each of them a sentence and where
    it was."""
    renamed, said = dict(document), list[tuple[str, str]]()
    for where, names in _OLD_NAMES.items():
        parent, _, name = where.rpartition(".")
        holder = renamed[parent] if parent and isinstance(renamed.get(parent), dict) else renamed
        members = holder.get(name)
        if isinstance(members, dict):
            holder[name] = members = dict(members)
            for old in [old for old in names if old in members]:
                sentence = f"The model config's {where}.{old} is called {names[old]} since version 0.0.7."
                said.append((sentence, CONFIG_BLOB + pointer_to(*where.split("."), old)))
                value = members.pop(old)
                members.setdefault(names[old], short_count(value) if _is_count(value) else value)
    return renamed, tuple(said)


def check_document(document: dict[str, Any], deviations: Deviations) -> dict[str, Any]:
    """The document without the members that break the schema.

    Every member left out is an error deviation; in strict mode the first raises InvalidConfig.
    """
    for name in sorted(document.keys() - {"descriptor", "config", "modelfs"}):
        _error(deviations, "unknown-member", (name,), "the specification does not know it")
    descriptor = _members(document, "descriptor", _DESCRIPTOR, deviations)
    config = _members(document, "config", _CONFIG, deviations)
    if "capabilities" in config:
        config["capabilities"] = _members(config, "capabilities", _CAPABILITIES, deviations, inside=("config",))
    modelfs = _members(document, "modelfs", _MODELFS, deviations)
    for name in sorted(_MODELFS.keys() - modelfs.keys()):
        if isinstance(document.get("modelfs"), dict):
            _error(deviations, "missing-member", ("modelfs", name), "it is missing")
    _look_closer(config, modelfs, deviations)
    return {"descriptor": descriptor, "config": config, "modelfs": modelfs}


def _members(
    parent: dict[str, Any],
    name: str,
    checks: Mapping[str, Check],
    deviations: Deviations,
    inside: tuple[str, ...] = (),
) -> dict[str, Any]:
    where = (*inside, name)
    found = parent.get(name)
    if not isinstance(found, dict):
        problem = "it is not an object" if name in parent else "it is missing"
        _error(deviations, "missing-member", where, problem)
        return {}
    members = dict(found)
    for key in sorted(members):
        if key not in checks:
            _error(deviations, "unknown-member", (*where, key), "the specification does not know it")
            del members[key]
        elif problem := checks[key](members[key]):
            _error(deviations, "wrong-value", (*where, key), problem)
            del members[key]
    return members


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64


def _look_closer(config: dict[str, Any], modelfs: dict[str, Any], deviations: Deviations) -> None:
    """What the schema leaves open and the specification's prose does not."""
    if "embedding" in config.get("capabilities", {}):
        where = CONFIG_BLOB + "/config/capabilities/embedding"
        deviations.warn("capabilities-embedding", "config.capabilities.embedding exists in version 0.0.7 only.", where)
    size = config.get("paramSize", "")
    if size and not is_param_size(size):
        message = f"config.paramSize {size[:40]!r} is not a number and one of K, M, B, T, Q."
        deviations.warn("param-size", message, CONFIG_BLOB + "/config/paramSize")
    for number, diff_id in enumerate(modelfs.get("diffIds", [])):
        if problem := digest_problem(diff_id):
            _error(deviations, "diff-id", ("modelfs", "diffIds", number), f"{diff_id[:80]!r}: {problem}")


def _error(deviations: Deviations, code: str, where: tuple[str | int, ...], problem: str) -> None:
    message = f"The model config's {'.'.join(map(str, where))[:200]} is not valid: {problem}."
    deviations.error(code, message, InvalidConfig, CONFIG_BLOB + pointer_to(*where)[:400])


def is_param_size(text: str) -> bool:
    """Whether it is written as `paramSize`: a number with at most one decimal, and K, M, B, T or Q in any case."""
    return _PARAM_SIZE.fullmatch(text) is not None


def short_count(count: int) -> str:
    """A number of parameters as `paramSize` writes it: one decimal at most and a unit (22713216 -> 22.7m)."""
    value = max(count, 100) / 1000  # the specification has no unit below thousand
    unit = 0
    while round(value, 1) >= 1000 and unit < 4:
        value /= 1000
        unit += 1
    return f"{value:.1f}".removesuffix(".0") + "kmbtq"[unit]
