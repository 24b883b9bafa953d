"""Manifests and indexes of image-spec 1.1, typed, with what a reader must check before trusting them."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from modelpack import mediatypes
from modelpack.digests import digest_problem
from modelpack.document import read_object, without_nulls
from modelpack.errors import InvalidManifest, UnsupportedArtifact

MAX_MANIFEST_BYTES = 4 * 1024 * 1024  # what registries accept (distribution 2.8 and 3.1 refuse more)
MAX_SIZE = 2**63 - 1  # bytes; image-spec: int64
_REMEDY = "Ask the publisher to push the artifact again; nothing of it was used."


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """The machine an image in an index is for."""

    architecture: str = ""
    os: str = ""
    os_version: str = msgspec.field(name="os.version", default="")
    os_features: tuple[str, ...] = msgspec.field(name="os.features", default=())
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """A typed pointer to a blob or manifest. `size` in bytes."""

    media_type: str
    digest: str
    size: int
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = {}
    data: str = ""  # base64
    artifact_type: str = ""
    platform: Platform | None = None


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """An image manifest. `media_type` is never empty after `parse_manifest`."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """An image index (or Docker manifest list)."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


def parse_manifest(raw: bytes, media_type: str | None = None) -> Manifest | Index:
    """Read a manifest or index of at most 4 MiB.

    `media_type` is what the registry's Content-Type said; a type that is no manifest type (some registries answer
    text/plain) is ignored. Raises InvalidManifest.
    """
    document = read_object(raw, limit=MAX_MANIFEST_BYTES, what="manifest", error=InvalidManifest)
    kind = _media_type(document, media_type)
    if document.get("schemaVersion") != 2:
        raise _invalid(f"its schemaVersion is {str(document.get('schemaVersion'))[:40]!r}, not 2")
    document = without_nulls(document) | {"mediaType": kind}
    try:
        if kind in mediatypes.INDEXES:
            index = msgspec.convert({"manifests": [], **document}, Index)
            _check(index.manifests, index.subject)
            return index
        manifest = msgspec.convert({"layers": [], **document}, Manifest)
    except msgspec.ValidationError as problem:
        raise _invalid(str(problem)) from None
    _check((manifest.config, *manifest.layers), manifest.subject)
    return manifest


def encode_manifest(manifest: Manifest | Index) -> bytes:
    """The bytes to push: equal values give equal bytes."""
    return msgspec.json.encode(manifest, order="deterministic")


def choose_manifest(index: Index) -> Descriptor:
    """The model in an index that may also hold container images; where there are only those, the one for this kind of
    machine, which may carry a model.

    Raises UnsupportedArtifact when there is none, or several between which the index does not decide.
    """
    models = [entry for entry in index.manifests if entry.artifact_type in mediatypes.MODEL_ARTIFACTS]
    if not models:
        models = [entry for entry in index.manifests if _may_be_model(entry)]
    if not models:
        models = _images(index)[:1]
    if not models:
        raise UnsupportedArtifact("The index holds no model.", remedy="Check the reference and its tag.")
    if len({entry.digest for entry in models}) > 1:
        listed = ", ".join(entry.digest for entry in models[:8])
        raise UnsupportedArtifact(
            f"The index holds {len(models)} models: {listed}.", remedy="Name one of them as repository@digest."
        )
    return models[0]


def _images(index: Index) -> list[Descriptor]:
    """Container images, those for this machine's architecture first."""
    here = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    images = [
        (entry.platform.architecture != here, entry.platform.os != "linux", entry)
        for entry in index.manifests
        if entry.media_type in mediatypes.MANIFESTS and entry.platform and entry.platform.os not in ("", "unknown")
    ]
    return [entry for _, _, entry in sorted(images, key=lambda image: image[:2])]


def _may_be_model(entry: Descriptor) -> bool:
    """A manifest for no particular machine, and no attestation about another one."""
    for_machine = entry.platform is not None and entry.platform.os not in ("", "unknown")
    return (
        entry.media_type in mediatypes.MANIFESTS
        and not for_machine
        and mediatypes.DOCKER_REFERENCE_TYPE not in entry.annotations
    )


def _media_type(document: dict[str, Any], told: str | None) -> str:
    """One type only: a document that is a manifest to one reader and an index to another is an attack."""
    known = mediatypes.MANIFESTS | mediatypes.INDEXES
    told = (told or "").partition(";")[0].strip().lower()
    own = document.get("mediaType")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise _invalid("it is a manifest and an index at once")
    deduced = mediatypes.OCI_INDEX if "manifests" in document else mediatypes.OCI_MANIFEST
    if own is None:
        own = told if told in known else deduced
    if own not in known:
        raise _invalid(f"its mediaType is {str(own)[:120]!r}")
    if told in known and told != own:
        raise _invalid(f"the registry calls it {told!r} and it calls itself {own!r}")
    if (own in mediatypes.INDEXES) != (deduced == mediatypes.OCI_INDEX):
        raise _invalid(f"its members are not those of its mediaType {own!r}")
    return str(own)


def _check(descriptors: tuple[Descriptor, ...], subject: Descriptor | None) -> None:
    sizes: dict[str, int] = {}
    for descriptor in (*descriptors, *((subject,) if subject else ())):
        if problem := digest_problem(descriptor.digest):
            raise _invalid(f"{descriptor.digest[:100]!r} is not a digest: {problem}")
        if not 0 <= descriptor.size <= MAX_SIZE:
            raise _invalid(f"the size of {descriptor.digest} is {descriptor.size} bytes")
        if sizes.setdefault(descriptor.digest, descriptor.size) != descriptor.size:
            raise _invalid(f"it gives {descriptor.digest} two sizes")
        if not descriptor.media_type:
            raise _invalid(f"{descriptor.digest} has no mediaType")


def _invalid(problem: str) -> InvalidManifest:
    return InvalidManifest(f"The manifest is not valid: {problem}.", remedy=_REMEDY)
