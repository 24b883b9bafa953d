"""Rules for the files of a model together: families of weights, splits, formats that run code, stand-ins."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from modelpack.filekinds import LARGE
from modelpack.lint.files import ModelledFile
from modelpack.lint.findings import Findings

_SAFE = (".safetensors", ".gguf")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".mar", ".dill")
_OTHERS = (
    ".onnx",
    ".h5",
    ".keras",
    ".tflite",
    ".pb",
    ".npz",
    ".npy",
    ".msgpack",
    ".ggml",
    ".mlmodel",
    ".engine",
    ".pte",
)
_NO_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "tokenizer.bin", "scaler.pt")
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<suffix>\.[a-z]+)")
_STAND_IN = 1024 * 1024  # bytes; nothing larger is looked at, no pointer or page is that long
_POINTER = b"version https://git-lfs.github.com/spec/"
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\..*)?", re.IGNORECASE)
_UNPORTABLE = frozenset('<>:"|?*')


def is_weight(name: str) -> bool:
    """Whether a file of this name (the last part of its path) holds weights."""
    lower = name.lower()
    return lower.endswith((*_SAFE, *_PICKLES, *_OTHERS)) and lower not in _NO_WEIGHTS


def check_files(files: Sequence[ModelledFile], findings: Findings) -> None:
    """All rules for the files together. Small weights are looked into; safetensors headers are another matter."""
    for file in files:
        _check_portable(file, findings)
    weights = [file for file in files if is_weight(file.name)]
    if files and not weights and not any(file.kind == "weight" and file.size > LARGE for file in files):
        findings.add("no-weights", f"None of the {len(files)} files holds weights.")
    for file in weights:
        if file.name.endswith(_PICKLES):
            message = f"{file.path[:200]!r} runs code when it is loaded, if it is a pickle."
            findings.add("pickled-weights", message, path=file.path, layer=file.layer)
    by_directory: dict[str, list[ModelledFile]] = defaultdict(list)
    for file in weights:
        by_directory[file.directory].append(file)
    for directory, beside in by_directory.items():
        _check_families(directory, beside, findings)
        _check_parts(beside, findings)
    safe = [file for file in weights if file.name.endswith(".safetensors")]
    if safe and not any(
        file.name in ("config.json", "model_index.json", "params.json", "adapter_config.json", "config.yaml")
        for file in files
    ):
        findings.add("no-model-json", f"There are {len(safe)} safetensors files and no config.json.")


def stand_in(file: ModelledFile) -> str:
    """What a weight file is instead of weights; empty where it may be some."""
    if file.read_range is None or not 0 < file.size <= _STAND_IN:
        return ""
    start = file.read_range(0, min(file.size, 256)).lstrip()
    if start.startswith(_POINTER):
        return "a Git LFS pointer"
    if start[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page"
    return ""


def _check_portable(file: ModelledFile, findings: Findings) -> None:
    problems = []
    for part in file.path.split("/"):
        if _DEVICES.fullmatch(part):
            problems.append(f"{part!r} is a device on Windows")
        elif part.endswith((".", " ")) or _UNPORTABLE & set(part):
            problems.append(f"{part!r} cannot exist on Windows")
    if unicodedata.normalize("NFC", file.path) != file.path:
        problems.append("it is not in the composed form NFC")
    for problem in problems[:1]:
        message = f"The file name {file.path[:200]!r} is not portable: {problem}."
        findings.add("name-not-portable", message, path=file.path, layer=file.layer)


def _check_families(directory: str, weights: Sequence[ModelledFile], findings: Findings) -> None:
    safe = [file for file in weights if file.name.endswith(".safetensors")]
    consolidated = [file for file in safe if file.name.startswith("consolidated")]
    where = f"{directory}/" if directory else "The model"
    if consolidated and len(consolidated) < len(safe):
        other = next(file for file in safe if file not in consolidated)
        message = f"{where} holds {consolidated[0].path[:120]!r} and {other.path[:120]!r}."
        findings.add("two-weight-families", message, path=consolidated[0].path, layer=consolidated[0].layer)
    pickles = [file for file in weights if file.name.startswith(("pytorch_model", "consolidated"))]
    pickles = [file for file in pickles if file.name.endswith(_PICKLES)]
    if safe and pickles:
        message = f"{where} holds {pickles[0].path[:120]!r} and {safe[0].path[:120]!r}."
        findings.add("pickle-beside-safetensors", message, path=pickles[0].path, layer=pickles[0].layer)


def _check_parts(weights: Sequence[ModelledFile], findings: Findings) -> None:
    splits: dict[tuple[str, int, str], set[int]] = defaultdict(set)
    for file in weights:
        if match := _PART.fullmatch(file.name):
            splits[match["stem"], int(match["total"]), match["suffix"]].add(int(match["number"]))
    for (stem, total, suffix), numbers in splits.items():
        first = 0 if 0 in numbers else 1  # some tools count from 0
        missing = sorted(set(range(first, first + total)) - numbers)
        if missing:
            some = ", ".join(f"{stem}-{number:05}-of-{total:05}{suffix}" for number in missing[:3])
            more = "…" if missing[3:] else ""
            message = f"{len(missing)} of the {total} files of {stem[:120]!r} are missing: {some}{more}."
            findings.add("shards-incomplete", message, path=f"{stem}-{missing[0]:05}-of-{total:05}{suffix}")
