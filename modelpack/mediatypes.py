"""Media types and annotation keys, of the ModelPack specification and of the formats it shares registries with."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, cast

LayerKind = Literal["weight", "weight.config", "doc", "code", "dataset", "other"]
Encoding = Literal["raw", "tar", "tar+gzip", "tar+zstd"]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_IMAGE_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_MANIFEST_LIST})
ACCEPT = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST)
"""What a client asks a registry for; registries answer 404 to a type that is not in its Accept header."""

# ModelPack. The vendor was `cnai` until version 0.0.6 of the specification and is `cncf` since 0.0.7.
CNCF_ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
CNCF_CONFIG = "application/vnd.cncf.model.config.v1+json"
CNAI_ARTIFACT = "application/vnd.cnai.model.manifest.v1+json"
CNAI_CONFIG = "application/vnd.cnai.model.config.v1+json"
MODEL_ARTIFACTS = frozenset({CNCF_ARTIFACT, CNAI_ARTIFACT})
MODEL_CONFIGS = frozenset({CNCF_CONFIG, CNAI_CONFIG})

KINDS: tuple[LayerKind, ...] = ("weight", "weight.config", "doc", "code", "dataset")
ENCODINGS: tuple[Encoding, ...] = ("raw", "tar", "tar+gzip", "tar+zstd")

# Docker Model Runner, KitOps and Ollama.
DOCKER_AI_CONFIGS = {
    "application/vnd.docker.ai.model.config.v1+json": "docker-v0.1",  # before its versions began with 0
    "application/vnd.docker.ai.model.config.v0.1+json": "docker-v0.1",
    "application/vnd.docker.ai.model.config.v0.2+json": "docker-v0.2",
}
DOCKER_AI = "application/vnd.docker.ai."
KITOPS_CONFIG = "application/vnd.kitops.modelkit.config.v1+json"
KITOPS_ARTIFACT = "application/vnd.kitops.modelkit.manifest.v1+json"
INDEXED_MODELS = MODEL_ARTIFACTS | {KITOPS_ARTIFACT}
"""Artifact types by which an index tells a model from the images beside it."""
KITOPS_LAYER = "application/vnd.kitops.modelkit."
OLLAMA_LAYER = "application/vnd.ollama.image."

# Annotations. Readers accept both vendors; writers write `cncf` and the title, which CRI-O and podman read.
FILEPATH = "org.cncf.model.filepath"
FILE_METADATA = "org.cncf.model.file.metadata+json"
UNTESTED = "org.cncf.model.file.mediatype.untested"
CNAI_FILEPATH = "org.cnai.model.filepath"
CNAI_FILE_METADATA = "org.cnai.model.file.metadata+json"
CNAI_FILE_METADATA_OLD = "org.cnai.model.file.metadata"  # until version 0.0.3
CNAI_UNTESTED = "org.cnai.model.file.mediatype.untested"
TITLE = "org.opencontainers.image.title"
REF_NAME = "org.opencontainers.image.ref.name"
DOCKER_REFERENCE_TYPE = "vnd.docker.reference.type"

FILEPATHS = (FILEPATH, CNAI_FILEPATH)
FILE_METADATAS = (FILE_METADATA, CNAI_FILE_METADATA, CNAI_FILE_METADATA_OLD)

_LAYER = re.compile(
    r"application/vnd\.(cncf|cnai)\.model\.(weight|weight\.config|doc|code|dataset)\.v1\.(raw|tar|tar\+gzip|tar\+zstd)"
)


class LayerType(NamedTuple):
    """What a ModelPack layer's media type says."""

    vendor: Literal["cncf", "cnai"]
    kind: LayerKind
    encoding: Encoding


def layer_type(kind: LayerKind, encoding: Encoding = "raw") -> str:
    """The media type of a ModelPack layer, as written today."""
    return f"application/vnd.cncf.model.{kind}.v1.{encoding}"


def parse_layer_type(media_type: str) -> LayerType | None:
    """The parts of a ModelPack layer's media type; None for any other type."""
    match = _LAYER.fullmatch(media_type)
    if match is None:
        return None
    vendor, kind, encoding = match.groups()
    return LayerType(cast(Literal["cncf", "cnai"], vendor), cast(LayerKind, kind), cast(Encoding, encoding))


def encoding_by_suffix(media_type: str) -> Encoding:
    """How a layer of a foreign type is packed, by the suffixes registries have in common."""
    for suffix, encoding in _SUFFIXES:
        if media_type.endswith(suffix):
            return encoding
    return "raw"


_SUFFIXES: tuple[tuple[str, Encoding], ...] = (
    ("tar+gzip", "tar+gzip"),
    ("tar.gzip", "tar+gzip"),
    ("tar+zstd", "tar+zstd"),
    ("tar", "tar"),
)
