"""Rules for safetensors and GGUF files, by their headers, and for indexes against the files they name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from modelpack.document import read_object
from modelpack.errors import InvalidConfig, InvalidGguf, InvalidSafetensors
from modelpack.lint.files import ModelledFile, Unreadable
from modelpack.lint.findings import Findings
from modelpack.lint.weights import is_weight, stand_in
from modelpack.safetensors_header import SafetensorsHeader, parse_header
from modelpack.tensors.gguf import GgufHeader, check_splits, parse_gguf, split_name

HUB_HEADER = 25_000_000  # bytes; huggingface_hub's SAFETENSORS_MAX_HEADER_LENGTH
MAX_INDEX = 64 * 1024 * 1024  # bytes
_ALIGNMENT = 8  # bytes; what the reference implementation pads its header to
_AT_ONCE = 8  # headers read side by side, as each may be a request
_INDEX = ".safetensors.index.json"
_ASPECTS = {
    "header": "safetensors-invalid",
    "cap": "safetensors-header-cap",
    "hole": "safetensors-hole",
    "overlap": "safetensors-overlap",
    "shape": "safetensors-shape",
    "length": "safetensors-length",
}


def check_tensors(files: Sequence[ModelledFile], findings: Findings) -> None:
    """Read every header that can be reached, and fill `header` or `gguf` of those that are whole."""
    weights = [file for file in files if is_weight(file.name) and file.read_range is not None]
    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="lint") as pool:
        problems = list(pool.map(_look, weights))
    for file, problem in zip(weights, problems, strict=True):
        if problem is not None:
            findings.add(*problem, path=file.path, layer=file.layer)
        elif file.header is not None:
            _check_header(file, file.header, findings)
        elif file.gguf is not None:
            _check_gguf(file, file.gguf, findings)
    for file in files:
        if file.name.endswith(_INDEX) and file.read_range is not None:
            _check_index(file, files, findings)
    _check_twice(files, findings)
    _check_splits(files, findings)


def _look(file: ModelledFile) -> tuple[str, str] | None:
    """Read the header; where that cannot be, the rule that is broken and a sentence."""
    assert file.read_range is not None
    try:
        if instead := stand_in(file):
            return "pointer-file", f"{file.path[:200]!r} is {instead} in place of weights."
        if file.name.endswith(".safetensors"):
            file.header = parse_header(file.read_range, file.size, name=file.path)
        if file.name.endswith(".gguf"):
            file.gguf = parse_gguf(file.read_range, file.size, name=file.path)
    except InvalidSafetensors as problem:
        return _ASPECTS[problem.aspect], problem.message
    except InvalidGguf as problem:
        return "gguf-invalid", problem.message
    except Unreadable:
        pass  # told already
    return None


def _check_gguf(file: ModelledFile, header: GgufHeader, findings: Findings) -> None:
    first = header.split is None or header.split.number == 0
    if first and not isinstance(header.metadata.get("general.architecture"), str):
        message = f"{file.path[:200]!r} names no general.architecture."
        findings.add("gguf-architecture-missing", message, path=file.path, layer=file.layer)


def _check_splits(files: Sequence[ModelledFile], findings: Findings) -> None:
    """What the headers say of the other files; those that are missing by their names are told elsewhere."""
    splits: dict[tuple[str, int], list[tuple[str, GgufHeader]]] = defaultdict(list)
    for file in files:
        if file.gguf is not None and (split := split_name(file.path)):
            splits[split[0], split[2]].append((file.path, file.gguf))
    for (_, total), headers in splits.items():
        if len(headers) == total:
            try:
                check_splits(headers)
            except InvalidGguf as problem:
                findings.add("gguf-split", problem.message, path=headers[0][0])


def _check_header(file: ModelledFile, header: SafetensorsHeader, findings: Findings) -> None:
    length = header.data_start - 8
    if length > HUB_HEADER:
        message = f"The header of {file.path[:200]!r} has {length} bytes."
        findings.add("safetensors-header-large", message, path=file.path, layer=file.layer)
    if header.tensors and header.data_start % _ALIGNMENT:
        message = f"The tensors of {file.path[:200]!r} start at byte {header.data_start}."
        findings.add("safetensors-unaligned", message, path=file.path, layer=file.layer)
    if not header.tensors:
        message = f"{file.path[:200]!r} holds no tensors."
        findings.add("safetensors-empty", message, path=file.path, layer=file.layer)
    elif "format" not in header.metadata:
        message = f"The __metadata__ of {file.path[:200]!r} names no format."
        findings.add("safetensors-format-missing", message, path=file.path, layer=file.layer)


def _check_index(index: ModelledFile, files: Sequence[ModelledFile], findings: Findings) -> None:
    document = _read_index(index, findings)
    if document is None:
        return
    beside = {file.path: file for file in files}
    prefix = f"{index.directory}/" if index.directory else ""
    by_file: dict[str, set[str]] = defaultdict(set)
    for tensor, name in document["weight_map"].items():
        by_file[prefix + name].add(tensor)
    for path, tensors in sorted(by_file.items()):
        if (file := beside.get(path)) is None:
            message = f"{index.path[:200]!r} looks for {len(tensors)} tensors in {path[:200]!r}, which is not there."
            findings.add("index-file-missing", message, path=index.path, layer=index.layer)
        elif file.header is not None:
            _compare(index, file, file.header, tensors, findings)
    for file in files:
        # what another index lists, or another family, is no concern of this one
        mine = file.directory == index.directory and not file.name.startswith("consolidated")
        if mine and file.name.endswith(".safetensors") and file.path not in by_file and by_file:
            message = f"{file.path[:200]!r} is not in {index.path[:200]!r}."
            findings.add("index-file-unlisted", message, path=file.path, layer=file.layer)
    _check_total(index, document, [beside[path] for path in by_file if path in beside], findings)


def _read_index(index: ModelledFile, findings: Findings) -> dict[str, Any] | None:
    problem = ""
    document: dict[str, Any] = {}
    if index.size > MAX_INDEX:
        problem = f"it has {index.size} bytes"
    else:
        assert index.read_range is not None
        try:
            raw = index.read_range(0, index.size)
            document = read_object(raw, limit=MAX_INDEX, what=f"index {index.path}", error=InvalidConfig)
        except InvalidConfig as error:
            problem = error.message.rstrip(".")
        except Unreadable:
            return None
    names = document.get("weight_map")
    if not problem and not (isinstance(names, dict) and all(isinstance(name, str) for name in names.values())):
        problem = "it has no weight_map of texts"
    if problem:
        message = f"The index {index.path[:200]!r} cannot be used: {problem}."
        findings.add("index-invalid", message, path=index.path, layer=index.layer)
        return None
    return document


def _compare(
    index: ModelledFile, file: ModelledFile, header: SafetensorsHeader, tensors: set[str], findings: Findings
) -> None:
    if missing := sorted(tensors - header.tensors.keys()):
        message = f"{file.path[:200]!r} lacks {len(missing)} tensors that {index.path[:200]!r} names: {_some(missing)}."
        findings.add("index-tensor-missing", message, path=file.path, layer=file.layer)
    if unlisted := sorted(header.tensors.keys() - tensors):
        message = f"{file.path[:200]!r} holds {len(unlisted)} tensors not in {index.path[:200]!r}: {_some(unlisted)}."
        findings.add("index-tensor-unlisted", message, path=file.path, layer=file.layer)


def _some(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:80]) for name in names[:3]) + ("…" if len(names) > 3 else "")


def _check_total(
    index: ModelledFile, document: dict[str, Any], named: Sequence[ModelledFile], findings: Findings
) -> None:
    metadata = document.get("metadata")
    told = metadata.get("total_size") if isinstance(metadata, dict) else None
    headers = [file.header for file in named if file.header is not None]
    if told is None or len(headers) < len(named) or not named:
        return
    bytes_of_tensors = sum(tensor.end - tensor.start for header in headers for tensor in header.tensors.values())
    if told != bytes_of_tensors:
        message = (
            f"The total_size of {index.path[:200]!r} is {str(told)[:40]}, and its tensors have {bytes_of_tensors}."
        )
        findings.add("index-total-size", message, path=index.path, layer=index.layer)


def _check_twice(files: Sequence[ModelledFile], findings: Findings) -> None:
    """Ranks of a `sharded_state` and LoRA adapters repeat names on purpose; files of one split do not."""
    families: dict[tuple[str, bool], list[ModelledFile]] = defaultdict(list)
    for file in files:
        if file.header is not None and "-of-" in file.name:
            families[file.directory, file.name.startswith("consolidated")].append(file)
    for family in families.values():
        counts = Counter(tensor for file in family for tensor in file.header.tensors)  # type: ignore[union-attr]
        if twice := sorted(tensor for tensor, count in counts.items() if count > 1):
            message = f"{len(twice)} tensors are in several files, {family[0].path[:200]!r} among them: {_some(twice)}."
            findings.add("tensor-twice", message, path=family[0].path, layer=family[0].layer)
