"""Manifests about another manifest: a chunk table, a signature. Their `subject` names what they are about."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelpack import mediatypes
from modelpack.chunk_table import CHUNK_TABLE_TYPE
from modelpack.digests import sha256_digest
from modelpack.manifest import Descriptor, Manifest, encode_manifest

SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""artifactType and media type of a signature as cosign 3 writes it."""
PROOFS = (CHUNK_TABLE_TYPE, SIGSTORE_BUNDLE)
"""Artifact types that go with a model wherever it is copied: without them it can no longer be proven there."""

EMPTY = b"{}"
EMPTY_CONFIG = Descriptor(
    media_type=mediatypes.OCI_EMPTY, digest=sha256_digest(EMPTY), size=len(EMPTY), data=base64.b64encode(EMPTY).decode()
)
"""image-spec's descriptor of a config that says nothing."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A manifest with a subject, ready to be stored, and the two small blobs it consists of. What else it names is
    stored by whoever named it."""

    raw: bytes
    manifest: Manifest
    blobs: tuple[tuple[Descriptor, bytes], ...]

    @property
    def digest(self) -> str:
        return sha256_digest(self.raw)


def attachment(
    subject: Descriptor,
    artifact_type: str,
    data: bytes,
    annotations: Mapping[str, str] | None = None,
    *,
    beside: Sequence[Descriptor] = (),
) -> Attachment:
    """One blob of the type `artifact_type` attached to the manifest `subject`, and other blobs `beside` it, which are
    kept and copied with it. Equal arguments give equal bytes."""
    layer = Descriptor(media_type=artifact_type, digest=sha256_digest(data), size=len(data))
    manifest = Manifest(
        schema_version=2,
        media_type=mediatypes.OCI_MANIFEST,
        artifact_type=artifact_type,
        config=EMPTY_CONFIG,
        layers=(layer, *beside),
        subject=Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size),
        annotations=dict(annotations or {}),
    )
    return Attachment(encode_manifest(manifest), manifest, ((EMPTY_CONFIG, EMPTY), (layer, data)))


def fallback_tag(digest: str) -> str:
    """distribution-spec 1.1: where a registry without the referrers API keeps the index of a manifest's referrers."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm[:32]}-{value[:64]}"


def descriptor_of(raw: bytes, manifest: Manifest) -> Descriptor:
    """A referrer as indexes list it: with its artifactType (of an old kind, its config's type) and annotations."""
    return Descriptor(
        media_type=manifest.media_type,
        digest=sha256_digest(raw),
        size=len(raw),
        artifact_type=manifest.artifact_type or manifest.config.media_type,
        annotations=dict(manifest.annotations),
    )
