"""Rules for what the model config says, beyond its schema (whose breaches reading the artifact tells)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from modelpack.config import MAX_CONFIG_BYTES
from modelpack.deviations import CONFIG_BLOB, pointer_to
from modelpack.document import read_object
from modelpack.errors import InvalidConfig
from modelpack.lint.files import ModelledFile
from modelpack.lint.findings import Findings
from modelpack.lint.licenses import canonical_license
from modelpack.model_facts import PRECISIONS
from modelpack.tensors.gguf import split_name

_NAMES = frozenset(PRECISIONS.values())
_MEANT = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "f16": "float16",
    "fp32": "float32",
    "f32": "float32",
    "fp8": "float8_e4m3",
}
_FORMATS = {
    "safetensors": (".safetensors",),
    "gguf": (".gguf",),
    "onnx": (".onnx",),
    "pytorch": (".bin", ".pt", ".pth", ".safetensors"),
    "tensorflow": (".h5", ".pb", ".tflite", ".keras"),
}
_UNITS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12, "q": 10**15}
_TOLERANCE = 0.1  # share; publishers round, and some count no embeddings
# ISO 639-1:2002 with its later additions
_ISO_639_1 = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es
et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj
kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv
ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th
ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
_LANGUAGES = frozenset(_ISO_639_1.split())


def check_config(raw: bytes, files: Sequence[ModelledFile], findings: Findings) -> None:
    """`files` are those whose headers were read; what the config says of them is compared with those."""
    try:
        document = read_object(raw, limit=MAX_CONFIG_BYTES, what="model config", error=InvalidConfig)
    except InvalidConfig:
        return  # told by reading it
    if not document:
        return
    descriptor, technical = _section(document, "descriptor"), _section(document, "config")
    _check_descriptor(descriptor, files, findings)
    _check_precision(technical, findings)
    capabilities = _section(technical, "capabilities")
    for number, language in enumerate(_texts(capabilities, "languages")):
        if language not in _LANGUAGES:
            where = ("config", "capabilities", "languages", number)
            findings.add("language", f"The language {language[:40]!r} is none of ISO 639-1.", pointer=_pointer(*where))
    _check_twice(descriptor, ("descriptor",), ("authors", "licenses", "datasetsURL"), findings)
    _check_twice(capabilities, ("config", "capabilities"), ("inputTypes", "outputTypes", "languages"), findings)
    _compare(technical, files, findings)


def _section(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def _texts(members: dict[str, Any], name: str) -> list[str]:
    value = members.get(name)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _pointer(*members: str | int) -> str:
    return CONFIG_BLOB + pointer_to(*members)


def _check_descriptor(descriptor: dict[str, Any], files: Sequence[ModelledFile], findings: Findings) -> None:
    if not _text(descriptor, "name"):
        findings.add("model-name-missing", "descriptor.name is not set.", pointer=_pointer("descriptor"))
    licenses = _texts(descriptor, "licenses")
    if not licenses:
        findings.add("license-missing", "descriptor.licenses is not set.", pointer=_pointer("descriptor"))
    elif not any(file.name.startswith(("license", "licence", "copying", "notice", "readme")) for file in files):
        message = f"The license is {licenses[0][:80]!r}, and no file has its text."
        findings.add("license-text-missing", message, pointer=_pointer("descriptor", "licenses"))
    for number, expression in enumerate(licenses):
        where = _pointer("descriptor", "licenses", number)
        canonical = canonical_license(expression)
        if canonical is None:
            findings.add("license-not-spdx", f"{expression[:120]!r} is no SPDX license expression.", pointer=where)
        elif canonical != expression:
            message = f"The license {expression[:120]!r} is written {canonical[:120]!r}."
            findings.add("license-spelling", message, pointer=where)
    for name in ("docURL", "sourceURL"):
        if url := _text(descriptor, name):
            _check_url(url, ("descriptor", name), findings)
    for number, url in enumerate(_texts(descriptor, "datasetsURL")):
        _check_url(url, ("descriptor", "datasetsURL", number), findings)


def _check_url(url: str, where: tuple[str | int, ...], findings: Findings) -> None:
    try:
        parts = urlsplit(url)
        wrong = not parts.scheme or not (parts.netloc or parts.scheme in ("urn", "doi")) or parts.port == 0
    except ValueError:
        wrong = True
    if wrong or any(character.isspace() for character in url):
        message = f"{'.'.join(map(str, where))} is {url[:120]!r}, which is no absolute URL."
        findings.add("url", message, pointer=_pointer(*where))


def _check_precision(technical: dict[str, Any], findings: Findings) -> None:
    names = [name.strip() for name in _text(technical, "precision").split(",")]
    for name in names if names != [""] else []:
        if name not in _NAMES:
            meant = f", which is called {_MEANT[name.lower()]}" if name.lower() in _MEANT else ""
            message = f"config.precision names {name[:40]!r}{meant or ', which the specification does not know'}."
            findings.add("precision", message, pointer=_pointer("config", "precision"))


def _check_twice(members: dict[str, Any], where: tuple[str, ...], names: tuple[str, ...], findings: Findings) -> None:
    for name in names:
        twice = [item for item, count in Counter(_texts(members, name)).items() if count > 1]
        if twice:
            message = f"{'.'.join((*where, name))} names {twice[0][:80]!r} twice."
            findings.add("members-twice", message, pointer=_pointer(*where, name))


def _compare(technical: dict[str, Any], files: Sequence[ModelledFile], findings: Findings) -> None:
    """With the files, and with the headers of those weights that a loader would take."""
    suffixes = _FORMATS.get(_text(technical, "format").lower())
    if suffixes and files and not any(file.name.endswith(suffixes) for file in files):
        message = f"config.format is {_text(technical, 'format')!r} and no file ends in {' or '.join(suffixes)}."
        findings.add("format-mismatch", message, pointer=_pointer("config", "format"))
    read = [file for file in files if file.header is not None or file.gguf is not None]
    family = [file for file in read if not file.name.startswith("consolidated")] or read
    weights = [file for file in files if file.name.endswith((".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx"))]
    models = {split[0] if (split := split_name(file.path)) else file.path for file in read if file.gguf is not None}
    if not family or len(read) < len(weights) or len(models) > 1:
        return  # something else holds weights too, or each of them is the model once more
    dtypes: Counter[str] = Counter()
    for file in family:
        dtypes.update(file.parameters())
    _compare_size(technical, sum(dtypes.values()), findings)
    told = {name.strip() for name in _text(technical, "precision").split(",")} & _NAMES
    have = {PRECISIONS[dtype] for dtype in dtypes if dtype in PRECISIONS}
    if told and have and not told & have:
        message = f"config.precision is {', '.join(sorted(told))} and the tensors are {', '.join(sorted(have))}."
        findings.add("precision-mismatch", message, pointer=_pointer("config", "precision"))


def _compare_size(technical: dict[str, Any], counted: int, findings: Findings) -> None:
    text = _text(technical, "paramSize")
    try:
        told = float(text[:-1]) * _UNITS[text[-1:].lower()]
    except (ValueError, KeyError):
        return
    quantized = bool(_text(technical, "quantization"))  # packed weights count several parameters in one element
    if not quantized and abs(told - counted) > max(told, counted, 1000) * _TOLERANCE:
        message = f"config.paramSize is {text[:40]!r} and the tensors have {counted} elements."
        findings.add("param-size-mismatch", message, pointer=_pointer("config", "paramSize"))
