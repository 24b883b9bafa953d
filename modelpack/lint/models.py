"""All rules for one manifest and what it leads to, wherever that is: the caller gives ways to read it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from modelpack.artifact import ModelArtifact, ModelFile
from modelpack.errors import UnsafeName
from modelpack.lint.archives import check_archives
from modelpack.lint.configs import check_config
from modelpack.lint.files import Archive, ModelledFile
from modelpack.lint.findings import Findings
from modelpack.lint.layers import check_layers
from modelpack.lint.manifests import check_manifest
from modelpack.lint.tensors import check_tensors
from modelpack.lint.weights import check_files
from modelpack.manifest import Descriptor, Manifest
from modelpack.names import NameSet
from modelpack.safetensors_header import ReadRange

Reader = Callable[[Descriptor], ReadRange | None]
"""How to read ranges of a blob; None where that blob cannot be read, which the caller has told."""
Opener = Callable[[Descriptor], Callable[[], BinaryIO] | None]
"""How to stream a blob from its beginning; None where it is too much for that."""


def check_model(
    raw: bytes, manifest: Manifest, config: bytes, reader: Reader, opener: Opener, findings: Findings
) -> str:
    """Its dialect, empty for what is no model."""
    model = check_manifest(raw, manifest, config, findings)
    if model.is_modelpack:
        check_layers(manifest, findings, names=model.artifact is None)
    if model.artifact is None:
        if model.is_modelpack:
            check_config(config, (), findings)
        return ""
    raws, archives = _files(manifest, model.artifact, reader, opener)
    names = NameSet()
    for file in raws:
        with suppress(UnsafeName):  # they were checked when the artifact was read
            names.add_file(file.path)
    listed = model.artifact.config.modelfs.diff_ids if model.artifact.config else ()
    diff_ids = listed if len(listed) == len(manifest.layers) else ()
    files = [*raws, *check_archives(archives, names, diff_ids, findings, reproducible=model.is_modelpack)]
    read = all(archive.open or archive.encoding == "tar" for archive in archives)
    if not files and read and not findings.has_errors():
        where = f" below /{archives[0].subtree}" if archives and archives[0].subtree else ""
        findings.add("no-layers", f"The artifact holds no files{where}.")
    check_files(files, findings)
    check_tensors(files, findings)
    if model.is_modelpack:
        check_config(config, files, findings)
    return model.artifact.dialect


def _files(
    manifest: Manifest, artifact: ModelArtifact, reader: Reader, opener: Opener
) -> tuple[list[ModelledFile], list[Archive]]:
    numbers = {id(layer): number for number, layer in enumerate(manifest.layers)}
    raws, archives = [], []
    for file in artifact.files:
        number, read = numbers[id(file.descriptor)], reader(file.descriptor)
        if file.encoding == "raw":
            raws.append(ModelledFile(file.path, file.kind, file.descriptor.size, read, number))
        elif read is not None:
            archives.append(_archive(file, number, read, opener))
    return raws, archives


def _archive(file: ModelFile, number: int, read: ReadRange, opener: Opener) -> Archive:
    stream = None if file.encoding == "tar" else opener(file.descriptor)
    return Archive(file.path, file.kind, file.encoding, file.descriptor.size, number, read, stream, file.subtree)
