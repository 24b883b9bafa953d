"""Reading a Kitfile, KitOps' description of a model, as what to build a ModelPack of.

    manifestVersion: 1.0.0
    package: {name, version, description, authors, license}
    model: {name, path, framework, version, description, license, parts: [{path, …}], parameters}
    code: [{path, …}]      datasets: [{path, name, …}]      docs: [{path, …}]

A path is a file, a directory with all it holds, or a glob, below the Kitfile's directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelpack.build import BuildPlan
from modelpack.config import ModelDescriptor, TechnicalConfig
from modelpack.errors import InvalidModelfile
from modelpack.filekinds import kind_of
from modelpack.mediatypes import LayerKind
from modelpack.modelfile.globs import MAX_GLOBS, is_literal, matches
from modelpack.modelfile.yaml_document import read_yaml
from modelpack.sources import SourceFile, collect_files

MAX_KITFILE_BYTES = 4 * 1024 * 1024
MAX_PATHS = 10_000
_VERSION = re.compile(r"v?1(\.\d+){0,2}")


def plan_kitfile(
    raw: bytes,
    directory: Path,
    *,
    name: str = "Kitfile",
    follow: tuple[Path, ...] = (),
    without: tuple[Path, ...] = (),
) -> BuildPlan:
    """What the Kitfile in `raw` means in `directory`. `name` is what errors call it, `follow` and `without` are as for
    `collect_files`. Raises InvalidModelfile, BuildError, UnsafeName."""
    document = read_yaml(raw, limit=MAX_KITFILE_BYTES, name=name)
    version = str(document.get("manifestVersion", ""))
    if not _VERSION.fullmatch(version):
        raise _wrong(name, f"has the manifestVersion {version[:40]!r}", "Version 1.0.0 can be read.")
    paths = list(_paths(document, name))
    if not paths:
        raise _wrong(name, "names no files", "Add a model with a path, or datasets, code or docs.")
    if len(paths) > MAX_PATHS:
        raise _wrong(name, f"names {len(paths)} paths", f"At most {MAX_PATHS} are read.")
    if (globs := len({pattern for _, pattern, _ in paths if not is_literal(pattern)})) > MAX_GLOBS:
        raise _wrong(name, f"names {globs} patterns", f"At most {MAX_GLOBS} are read.")

    def wanted(path: str) -> bool:
        return any(_means(pattern, path) for _, pattern, _ in paths)

    files = collect_files(directory, follow=follow, without=without, wanted=wanted)
    chosen: dict[str, tuple[SourceFile, LayerKind]] = {}
    for where, pattern, kind in paths:
        found = [file for file in files if _means(pattern, file.path)]
        if not found:
            raise _wrong(name, f"names {pattern!r} in {where}, and no such file is in {directory}", "Check the path.")
        for file in found:
            chosen.setdefault(file.path, (file, kind or _weight_kind(file)))
    return BuildPlan(
        files=tuple(sorted(chosen.values(), key=lambda each: each[0].path)),
        about=_about(_object(document, "package", name), _object(document, "model", name)),
        technical=TechnicalConfig(format=_text(_object(document, "model", name), "format")),
    )


def _paths(document: dict[str, Any], name: str) -> Iterator[tuple[str, str, LayerKind | None]]:
    """(where it stands, path, kind); the most particular first, as a model's path may be the whole directory."""
    lists: tuple[tuple[str, LayerKind], ...] = (("datasets", "dataset"), ("code", "code"), ("docs", "doc"))
    model = _object(document, "model", name)
    listed = [(f"{key}[{at}]", each, kind) for key, kind in lists for at, each in enumerate(_list(document, key, name))]
    parts = [(f"model.parts[{at}]", each, None) for at, each in enumerate(_list(model, "parts", name))]
    for where, entry, kind in (*listed, *parts, *([("model", model, None)] if model else [])):
        if not isinstance(entry, dict):
            raise _wrong(name, f"has a {where} that is no mapping", "Write path: … in it.")
        path = _text(entry, "path")
        if not path:
            if where == "model":
                continue
            raise _wrong(name, f"has a {where} without a path", "Write path: … in it.")
        if path.startswith("/") or ".." in path.split("/") or "://" in path:
            raise _wrong(name, f"has a path {path[:200]!r} in {where} that leads elsewhere", "Write paths below it.")
        yield where, "/".join(part for part in path.split("/") if part not in ("", ".")), kind


def _means(pattern: str, path: str) -> bool:
    if not pattern:  # `.`, the whole directory; hidden files only where they are named
        return not any(part.startswith(".") for part in path.split("/"))
    if is_literal(pattern):
        below = path.removeprefix(pattern + "/")
        return path == pattern or (below != path and not any(part.startswith(".") for part in below.split("/")))
    return matches(pattern, path) or matches(pattern + "/**", path)


def _weight_kind(file: SourceFile) -> LayerKind:
    """Beside the weights, a model's directory holds its configuration and the like."""
    return kind_of(file.path.rpartition("/")[2], file.size)


def _about(package: dict[str, Any], model: dict[str, Any]) -> ModelDescriptor:
    authors = package.get("authors") or []
    licence = _text(package, "license") or _text(model, "license")
    return ModelDescriptor(
        name=_text(package, "name") or _text(model, "name"),
        version=_text(package, "version") or _text(model, "version"),
        description=_text(package, "description") or _text(model, "description"),
        authors=tuple(str(author) for author in (authors if isinstance(authors, list) else [authors]) if author),
        licenses=(licence,) if licence else (),
    )


def _object(document: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    found = document.get(key) or {}
    if not isinstance(found, dict):
        raise _wrong(name, f"has a {key} that is no mapping", f"Write {key}: with its members below.")
    return found


def _list(document: dict[str, Any], key: str, name: str) -> list[Any]:
    found = document.get(key) or []
    if not isinstance(found, list):
        raise _wrong(name, f"has {key} that are no list", "Begin each entry with a dash.")
    return found


def _text(members: Any, key: str) -> str:
    value = members.get(key) if isinstance(members, dict) else None
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _wrong(name: str, problem: str, remedy: str) -> InvalidModelfile:
    return InvalidModelfile(f"{name} {problem}.", remedy=remedy)
