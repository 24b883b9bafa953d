"""Digests of our own making: of a file list where the origin has no manifest, of what pins content without digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from modeldist.artifact import ArtifactFile, Digest


def list_digest(scope: str, version: str, files: Iterable[ArtifactFile]) -> Digest:
    """sha256 over a canonical JSON encoding of place, version and the sorted (path, digest, size)."""
    listed = sorted((file.path, file.digest, file.size) for file in files)
    return Digest("sha256:" + hashlib.sha256(msgspec.json.encode([scope, version, listed])).hexdigest())


def etag_digest(*facts: str | int) -> Digest:
    """The `etag:` digest over the facts that pin content at its origin."""
    return Digest("etag:" + hashlib.sha256(msgspec.json.encode(facts)).hexdigest())


def revision_of(digest: Digest) -> str:
    """40 hex digits, as a Hugging Face commit has."""
    return digest.partition(":")[2][:40]
