"""Files as `oras push` and the libraries of its name put them: one layer per file, called by its title."""

from __future__ import annotations

from modelpack import mediatypes
from modelpack.artifact import Dialect, ModelFile
from modelpack.config import ModelConfig
from modelpack.deviations import Deviations
from modelpack.filekinds import kind_of
from modelpack.manifest import Descriptor, Manifest
from modelpack.mediatypes import Encoding

_UNKNOWN_CONFIG = "application/vnd.unknown.config.v1+json"
_ARTIFACTS = ("", "application/vnd.unknown.artifact.v1")
"""Where nobody said what it is. Who says so means something else by it: a chart, a policy, an SBOM."""
_UNPACK = "io.deis.oras.content.unpack"
_DIRECTORY = "application/vnd.oci.image.layer.v1.tar+gzip"
_COMPRESSED = (".gz", ".tgz")


def is_files(manifest: Manifest) -> bool:
    """Whether every layer has a title, nothing says what they are, and it is about no other manifest."""
    layers = _layers(manifest)
    return (
        manifest.config.media_type in (mediatypes.OCI_EMPTY, _UNKNOWN_CONFIG)
        and manifest.artifact_type in _ARTIFACTS
        and manifest.subject is None
        and bool(layers)
        and all(layer.annotations.get(mediatypes.TITLE) for layer in layers)
    )


def read(
    manifest: Manifest, config: bytes, deviations: Deviations
) -> tuple[Dialect, tuple[ModelFile, ...], ModelConfig | None]:
    """The layers by their titles, whatever their media types: `oras` gives files that of a tar when told nothing."""
    return "oras", tuple(map(_file, _layers(manifest))), None


def _file(layer: Descriptor) -> ModelFile:
    title = layer.annotations[mediatypes.TITLE]
    encoding: Encoding = "tar+gzip" if _is_directory(layer, title) else "raw"
    kind = "other" if encoding != "raw" else kind_of(title.rpartition("/")[2], layer.size)
    return ModelFile(title, layer, kind, encoding)


def _is_directory(layer: Descriptor, title: str) -> bool:
    """By the annotation; the Python library has only the media type, which an archive that is a file may have too."""
    noted = layer.annotations.get(_UNPACK)
    return noted == "true" if noted else layer.media_type == _DIRECTORY and not title.endswith(_COMPRESSED)


def _layers(manifest: Manifest) -> tuple[Descriptor, ...]:
    return tuple(layer for layer in manifest.layers if layer.media_type != mediatypes.OCI_EMPTY)
