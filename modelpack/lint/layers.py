"""Rules for the layers of a ModelPack: their types, and their annotations."""

from __future__ import annotations

from typing import Any

from modelpack import mediatypes
from modelpack.deviations import pointer_to
from modelpack.document import read_object
from modelpack.errors import InvalidManifest, UnsafeName
from modelpack.filekinds import LARGE, kind_of
from modelpack.lint.findings import Findings
from modelpack.lint.weights import is_weight
from modelpack.manifest import Descriptor, Manifest
from modelpack.names import NameSet, check_name
from modelpack.timestamps import is_rfc3339

_MAX_U32 = 2**32 - 1
_MAX_I64 = 2**63 - 1


def check_layers(manifest: Manifest, findings: Findings, *, names: bool) -> None:
    """`names`: also those that make the artifact unreadable, which reading it has told only the first of."""
    together = NameSet()
    for number, layer in enumerate(manifest.layers):
        if layer.media_type == mediatypes.OCI_EMPTY:
            continue
        _check_paths(number, layer, findings)
        _check_metadata(number, layer, findings)
        _check_flag(number, layer, findings)
        _check_kind(number, layer, findings)
        if names:
            _check_name(number, layer, together, findings)


def _path(layer: Descriptor) -> str:
    keys = (*mediatypes.FILEPATHS, mediatypes.TITLE)
    return next((layer.annotations[key] for key in keys if layer.annotations.get(key)), "")


def _check_paths(number: int, layer: Descriptor, findings: Findings) -> None:
    filepath = next((layer.annotations[key] for key in mediatypes.FILEPATHS if layer.annotations.get(key)), "")
    title = layer.annotations.get(mediatypes.TITLE, "")
    where = pointer_to("layers", number, "annotations")
    if not filepath:
        message = f"Layer {number} has no {mediatypes.FILEPATH}."
        findings.add("filepath-missing", message, path=title, pointer=where, layer=number)
    if not title:
        message = f"Layer {number} has no {mediatypes.TITLE}."
        findings.add("title-missing", message, path=filepath, pointer=where, layer=number)
    if filepath and title and filepath != title:
        message = f"Layer {number} is called {filepath[:200]!r} in one annotation and {title[:200]!r} in the other."
        findings.add("paths-disagree", message, path=filepath, pointer=where, layer=number)


def _check_metadata(number: int, layer: Descriptor, findings: Findings) -> None:
    key = next((key for key in mediatypes.FILE_METADATAS if key in layer.annotations), "")
    if not key:
        message = f"Layer {number} has no {mediatypes.FILE_METADATA}."
        where = pointer_to("layers", number, "annotations")
        findings.add("file-metadata-missing", message, path=_path(layer), pointer=where, layer=number)
        return
    try:
        raw = layer.annotations[key].encode()
        document = read_object(raw, limit=64 * 1024, what="file metadata", error=InvalidManifest)
    except InvalidManifest as problem:
        _bad_metadata(number, layer, key, problem.message.rstrip("."), findings)
        return
    for told in _metadata_problems(document):
        _bad_metadata(number, layer, key, told, findings)


def _metadata_problems(document: dict[str, Any]) -> list[str]:
    found = []
    limits = {"mode": _MAX_U32, "uid": _MAX_U32, "gid": _MAX_U32, "size": _MAX_I64, "typeflag": 255}
    for name, most in limits.items():
        value = document.get(name, 0)
        if type(value) is not int or not 0 <= value <= most:
            found.append(f"its {name} is {str(value)[:40]!r}")
    if not isinstance(document.get("name", ""), str):
        found.append("its name is no text")
    mtime = document.get("mtime")
    if mtime is not None and not (isinstance(mtime, str) and is_rfc3339(mtime)):
        found.append(f"its mtime is {str(mtime)[:40]!r}, which is no date and time of RFC 3339")
    missing = [name for name in ("name", "mode", "uid", "gid", "size", "mtime", "typeflag") if name not in document]
    if missing:
        found.append(f"it lacks {', '.join(missing)}")
    return found


def _bad_metadata(number: int, layer: Descriptor, key: str, problem: str, findings: Findings) -> None:
    where = pointer_to("layers", number, "annotations", key)
    message = f"The file metadata of layer {number} is not as described: {problem}."
    findings.add("file-metadata-invalid", message, path=_path(layer), pointer=where, layer=number)


def _check_flag(number: int, layer: Descriptor, findings: Findings) -> None:
    for key in (mediatypes.UNTESTED, mediatypes.CNAI_UNTESTED):
        value = layer.annotations.get(key, "true")
        if value not in ("true", "false"):
            message = f"The annotation {key} of layer {number} is {value[:40]!r}."
            where = pointer_to("layers", number, "annotations", key)
            findings.add("untested-value", message, path=_path(layer), pointer=where, layer=number)


def _check_kind(number: int, layer: Descriptor, findings: Findings) -> None:
    kind = mediatypes.parse_layer_type(layer.media_type)
    if kind is None:
        return
    path, where = _path(layer), pointer_to("layers", number, "mediaType")
    if kind.kind == "weight" and kind.encoding in ("tar+gzip", "tar+zstd"):
        message = f"Layer {number} holds weights as {kind.encoding}."
        findings.add("weights-compressed", message, path=path, pointer=where, layer=number)
    if kind.kind == "weight" and layer.size == 0:
        message = f"Layer {number} ({path[:200]!r}) is empty."
        findings.add("layer-empty", message, path=path, pointer=where, layer=number)
    if kind.encoding != "raw" or kind.kind == "dataset" or not path:
        return  # a dataset may be of any format
    name = path.rpartition("/")[2]
    fitting = kind_of(name, LARGE + 1)  # a name that nobody knows may be that of weights
    if is_weight(name) != (kind.kind == "weight") and "weight" in (fitting, kind.kind) and fitting != kind.kind:
        message = f"Layer {number} holds {path[:200]!r} as {kind.kind}, and its name is that of a {fitting} file."
        findings.add("kind-mismatch", message, path=path, pointer=where, layer=number)


def _check_name(number: int, layer: Descriptor, together: NameSet, findings: Findings) -> None:
    kind = mediatypes.parse_layer_type(layer.media_type)
    path = _path(layer)
    while path.startswith("./"):
        path = path[2:]
    raw = kind is not None and kind.encoding == "raw"
    if not path or (not raw and path.rstrip("/") in ("", ".")):
        return
    try:
        if raw:
            together.add_file(path)
        else:
            check_name(path.rstrip("/"))
    except UnsafeName as problem:
        where = pointer_to("layers", number, "annotations")
        findings.add("name-unsafe", problem.message, path=path, pointer=where, layer=number)
