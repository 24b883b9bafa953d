"""Reading a layer's annotations."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from modelpack.artifact import FileMetadata
from modelpack.deviations import Deviations
from modelpack.document import read_object
from modelpack.errors import InvalidManifest
from modelpack.manifest import Descriptor


def first_annotation(layer: Descriptor, keys: Iterable[str]) -> str:
    """The first of `keys` that is there and not empty."""
    return next((layer.annotations[key] for key in keys if layer.annotations.get(key)), "")


def file_metadata(layer: Descriptor, keys: Iterable[str], deviations: Deviations) -> FileMetadata | None:
    """What the packer noted about the file; unknown members are ignored, an unreadable note is a warning."""
    text = first_annotation(layer, keys)
    if not text:
        return None
    try:
        document = read_object(text.encode(), limit=64 * 1024, what="file metadata", error=InvalidManifest)
        return msgspec.convert(document, FileMetadata)
    except (InvalidManifest, msgspec.ValidationError) as problem:
        deviations.warn("file-metadata", f"The metadata of the layer {layer.digest} cannot be read: {problem}")
        return None
