"""Reading a layer's annotations."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from modelpack.artifact import FileMetadata
from modelpack.deviations import Deviations, pointer_to
from modelpack.document import read_object
from modelpack.errors import InvalidManifest
from modelpack.manifest import Descriptor


def first_annotation(layer: Descriptor, keys: Iterable[str]) -> str:
    """The first of `keys` that is there and not empty."""
    return next((layer.annotations[key] for key in keys if layer.annotations.get(key)), "")


def file_metadata(number: int, layer: Descriptor, keys: Iterable[str], deviations: Deviations) -> FileMetadata | None:
    """What the packer noted about the file; unknown members are ignored, an unreadable note is a warning."""
    key = next((key for key in keys if layer.annotations.get(key)), "")
    if not key:
        return None
    text = layer.annotations[key]
    try:
        document = read_object(text.encode(), limit=64 * 1024, what="file metadata", error=InvalidManifest)
        return msgspec.convert(document, FileMetadata)
    except (InvalidManifest, msgspec.ValidationError) as problem:
        message = f"The metadata of the layer {layer.digest} cannot be read: {problem}"
        deviations.warn("file-metadata", message, pointer_to("layers", number, "annotations", key), number)
        return None
