"""Manifests and indexes of image-spec 1.1, typed, with what a reader must check before trusting them."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
    """A typed pointer to a blob or manifest. `size` in bytes.

    `name` and `model_metadata` are none of image-spec's: Ollama names some layers so, KitOps labels the variants in an
    index.
    """

    media_type: str
    digest: str
    size: int
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = {}
    data: str = ""  # base64
    artifact_type: str = ""
    platform: Platform | None = None
    name: str = ""
    model_metadata: dict[str, Any] = {}


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
    document = _without_strangers(without_nulls(document)) | {"mediaType": kind}
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


def choose_manifest(index: Index, labels: Mapping[str, str] = {}) -> Descriptor:
    """The model in an index that may also hold container images; where there are only those, the one for this kind of
    machine, which may carry a model.

    `labels` choose among several: an entry must have each, as a label of KitOps (`quantization`), an annotation, or
    `os` and `architecture` of its platform. Without them, models for several kinds of machine are chosen between by
    this machine's. Raises UnsupportedArtifact when there is none, or several between which nothing decides; it names
    them all.
    """
    models = [entry for entry in index.manifests if entry.artifact_type in mediatypes.INDEXED_MODELS]
    if not models:
        models = [entry for entry in index.manifests if _may_be_model(entry)]
    if not models and not labels:
        models = _images(index)[:1]
    models = list({entry.digest: entry for entry in models or _images(index) if _has(entry, labels)}.values())
    if len(models) > 1 and not labels:
        models = [entry for entry in models if entry.platform and _is_for_here(entry.platform)] or models
    if len(models) == 1:
        return models[0]
    wanted = f" with {', '.join(f'{key}={value}' for key, value in sorted(labels.items()))}" if labels else ""
    if not models:
        known = "; ".join(map(_described, index.manifests[:_MOST_NAMED])) if labels else ""
        raise UnsupportedArtifact(
            f"The index holds no model{wanted}.",
            remedy=f"It holds {known}." if known else "Check the reference and its tag.",
        )
    more = f"; and {len(models) - _MOST_NAMED} more" if len(models) > _MOST_NAMED else ""
    listed = "; ".join(map(_described, models[:_MOST_NAMED])) + more
    raise UnsupportedArtifact(
        f"The index holds {len(models)} models{wanted}: {listed}.", remedy="Name one of them as repository@digest."
    )


def labels_of(entry: Descriptor) -> dict[str, str]:
    """What tells an entry of an index from the others: KitOps' labels, its platform, and its annotations."""
    platform = entry.platform or Platform()
    parts = {"os": platform.os, "architecture": platform.architecture, "variant": platform.variant}
    metadata = {
        key: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for key, value in entry.model_metadata.items()
    }
    return {**entry.annotations, **{key: value for key, value in parts.items() if value}, **metadata}


_MOST_NAMED = 8  # of an index's entries in one sentence


def _has(entry: Descriptor, labels: Mapping[str, str]) -> bool:
    own = labels_of(entry) if labels else {}
    return all(own.get(key) == value for key, value in labels.items())


def _described(entry: Descriptor) -> str:
    """`sha256:… (quantization=q4_0, …)`"""
    told = ", ".join(f"{key.rpartition('.')[2]}={value}"[:80] for key, value in sorted(labels_of(entry).items())[:6])
    return f"{entry.digest} ({told})" if told else entry.digest


def _is_for_here(platform: Platform) -> bool:
    here = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return (platform.os, platform.architecture) == ("linux", here)


def _images(index: Index) -> list[Descriptor]:
    """Container images, those for this machine's architecture first."""
    images = [
        (not _is_for_here(entry.platform), entry.platform.os != "linux", entry)
        for entry in index.manifests
        if entry.media_type in mediatypes.MANIFESTS and entry.platform and entry.platform.os not in ("", "unknown")
    ]
    return [entry for _, _, entry in sorted(images, key=lambda image: image[:2])]


def _may_be_model(entry: Descriptor) -> bool:
    """A manifest (or index of some) for no particular machine, and no attestation about another one."""
    for_machine = entry.platform is not None and entry.platform.os not in ("", "unknown")
    return (
        entry.media_type in mediatypes.MANIFESTS | mediatypes.INDEXES
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
    if not isinstance(own, str) or own not in known:
        raise _invalid(f"its mediaType is {str(own)[:120]!r}")
    if told in known and told != own:
        raise _invalid(f"the registry calls it {told!r} and it calls itself {own!r}")
    if (own in mediatypes.INDEXES) != (deduced == mediatypes.OCI_INDEX):
        raise _invalid(f"its members are not those of its mediaType {own!r}")
    return own


def _without_strangers(document: dict[str, Any]) -> dict[str, Any]:
    """Members that image-spec does not know may be anything; those that are read only as what their tools write."""
    wanted = {"name": str, "modelMetadata": dict}

    def known(entry: Any) -> Any:
        if not isinstance(entry, dict) or all(isinstance(entry.get(key, kind()), kind) for key, kind in wanted.items()):
            return entry
        return {key: value for key, value in entry.items() if isinstance(value, wanted.get(key, object))}

    lists = {key: document[key] for key in ("layers", "manifests") if isinstance(document.get(key), list)}
    single = {key: known(document[key]) for key in ("config", "subject") if key in document}
    return document | single | {key: [known(entry) for entry in entries] for key, entries in lists.items()}


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
