"""Lint of models in an OCI image layout."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

from modelpack import mediatypes
from modelpack.chunk_table import CHUNK_TABLE_ANNOTATION
from modelpack.config import MAX_CONFIG_BYTES
from modelpack.deviations import pointer_to
from modelpack.errors import (
    DigestMismatch,
    InvalidConfig,
    InvalidManifest,
    LayoutError,
    ModelPackError,
    SizeMismatch,
    UnsupportedArtifact,
)
from modelpack.layout import ABOUT_ANOTHER, OciLayout
from modelpack.lint.findings import Findings, Report
from modelpack.lint.models import check_model
from modelpack.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest, choose_manifest, parse_manifest
from modelpack.safetensors_header import ReadRange

_NESTED = 4  # indexes in indexes


def lint_layout(layout: OciLayout, ref: str = "", *, digests: bool = False) -> tuple[Report, ...]:
    """One report for the model called `ref`, or for each manifest that the layout's index names and that is not about
    another one, as signatures and chunk tables are.

    What is wrong with the model is in its report, also where it cannot be read at all. `digests`: read every blob and
    compare it with its digest. Raises LayoutError, InvalidManifest when the layout's own index cannot be read, or holds
    no `ref`.
    """
    entries = (layout.resolve(ref),) if ref else layout.index().manifests
    unique = {entry.digest: entry for entry in entries if ref or not _is_about_another(layout, entry)}
    if not unique:
        raise LayoutError(f"The layout {layout.path} holds no manifests.", remedy="Build or copy a model into it.")
    return tuple(_lint(layout, entry, digests) for entry in unique.values())


def _is_about_another(layout: OciLayout, entry: Descriptor) -> bool:
    if ABOUT_ANOTHER.fullmatch(entry.annotations.get(mediatypes.REF_NAME, "").rpartition(":")[2]):
        return True
    try:
        parsed = parse_manifest(layout.blobs.read(entry, "manifest"), entry.media_type)
    except ModelPackError:
        return False  # its report says so
    return parsed.subject is not None and parsed.artifact_type not in mediatypes.INDEXED_MODELS


def _lint(layout: OciLayout, entry: Descriptor, digests: bool) -> Report:
    findings = Findings()
    name = entry.annotations.get(mediatypes.REF_NAME, "") or entry.digest
    target = f"{layout.path}:{name}" if name != entry.digest else f"{layout.path}@{name}"
    dialect = ""
    try:
        chosen, raw, manifest = _manifest(layout, entry)
        if manifest.config.size > MAX_CONFIG_BYTES:
            raise InvalidConfig(
                f"The model config has {manifest.config.size} bytes; at most {MAX_CONFIG_BYTES} are read."
            )
        config = layout.blobs.read(manifest.config, "config")
        dialect = check_model(raw, manifest, config, *_reading(layout, findings), findings)
        _check_table(layout, manifest, findings, digests=digests)
        if digests:
            _check_digests(layout, manifest, findings)
    except ModelPackError as problem:
        _report(problem, findings)
        return findings.report(target, entry.digest, dialect)
    return findings.report(target, chosen.digest, dialect)


def _manifest(layout: OciLayout, entry: Descriptor) -> tuple[Descriptor, bytes, Manifest]:
    for _ in range(_NESTED):
        if entry.size > MAX_MANIFEST_BYTES:
            raise InvalidManifest(f"The manifest has {entry.size} bytes; registries take {MAX_MANIFEST_BYTES}.")
        raw = layout.blobs.read(entry, "manifest")
        parsed = parse_manifest(raw, entry.media_type)
        if isinstance(parsed, Manifest):
            return entry, raw, parsed
        assert isinstance(parsed, Index)
        entry = choose_manifest(parsed)
    raise InvalidManifest("The indexes are nested too deeply.")


def _report(problem: ModelPackError, findings: Findings) -> None:
    names: tuple[tuple[type[ModelPackError], str], ...] = (
        (InvalidConfig, "config-invalid"),
        (LayoutError, "blob-missing"),
        (SizeMismatch, "blob-size"),
        (DigestMismatch, "blob-digest"),
        (UnsupportedArtifact, "ambiguous-index" if "models" in problem.message else "no-model"),
    )
    findings.add(next((name for kind, name in names if isinstance(problem, kind)), "manifest-invalid"), problem.message)


def _reading(
    layout: OciLayout, findings: Findings
) -> tuple[Callable[[Descriptor], ReadRange | None], Callable[[Descriptor], Callable[[], BinaryIO] | None]]:
    def reader(blob: Descriptor) -> ReadRange | None:
        try:
            layout.blobs.open(blob).close()
        except ModelPackError as problem:
            _report(problem, findings)
            return None
        path = layout.blobs.path_of(blob.digest)

        def read_range(start: int, length: int) -> bytes:
            with path.open("rb") as file:
                return os.pread(file.fileno(), length, start)

        return read_range

    def opener(blob: Descriptor) -> Callable[[], BinaryIO]:
        return lambda: layout.blobs.open(blob)

    return reader, opener


def _check_table(layout: OciLayout, manifest: Manifest, findings: Findings, *, digests: bool) -> None:
    """With `digests`, also every chunk."""
    where = pointer_to("annotations", CHUNK_TABLE_ANNOTATION)
    try:
        table = layout.chunk_table(manifest)
    except LayoutError as problem:
        findings.add("chunk-table-missing", problem.message, pointer=where)
        return
    except ModelPackError as problem:
        findings.add("chunk-table", problem.message, pointer=where)
        return
    for blob in table.blobs if table and digests else ():
        path = layout.blobs.path_of(blob.digest)
        if not path.is_file() or path.stat().st_size != blob.size:
            continue  # told already
        try:
            with path.open("rb") as file:
                for _ in blob.prove(0, blob.size, lambda start, stop: os.pread(file.fileno(), stop - start, start)):
                    pass
        except DigestMismatch as problem:
            findings.add("chunk-table", problem.message, pointer=where)


def _check_digests(layout: OciLayout, manifest: Manifest, findings: Findings) -> None:
    for layer in {layer.digest: layer for layer in manifest.layers}.values():
        try:
            layout.blobs.check(layer)
        except ModelPackError as problem:
            _report(problem, findings)
