"""trees/<commit>.json of the Hugging Face cache: the files of a commit. Also how the store knows a snapshot complete.

`{"format_version": 1, "files": {path: {"size", "blob_id"[, "lfs_sha256", "lfs_size"]}}}`, as written by
huggingface_hub from 1.31 on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from modeldist.artifact import Digest
from modeldist.errors import UNDECODABLE

FORMAT = 1


class TreeFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """`blob_id` is git's id of the file, or of the LFS pointer that stands for it. Sizes in bytes."""

    size: int
    blob_id: str
    lfs_sha256: str | None = None
    lfs_size: int | None = None


class Tree(msgspec.Struct, frozen=True):
    format_version: int
    files: Mapping[str, TreeFile]


_decoder = msgspec.json.Decoder(Tree)


def encode(files: Mapping[str, TreeFile]) -> bytes:
    return msgspec.json.encode(Tree(FORMAT, dict(sorted(files.items()))))


def read(path: Path) -> Mapping[str, TreeFile] | None:
    """None when the file is missing, damaged or of another format."""
    try:
        tree = _decoder.decode(path.read_bytes())
    except (OSError, *UNDECODABLE):
        return None
    return tree.files if tree.format_version == FORMAT else None


def entry(digest: Digest, size: int) -> TreeFile:
    """The entry of a file known by its git-sha1, or, as an LFS file, by its sha256."""
    kind, _, value = digest.partition(":")
    if kind == "git-sha1":
        return TreeFile(size, value)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{value}\nsize {size}\n".encode()
    pointer_id = hashlib.sha1(b"blob %d\x00" % len(pointer) + pointer, usedforsecurity=False)
    return TreeFile(size, pointer_id.hexdigest(), value, size)


def digest_of(file: TreeFile) -> Digest:
    """What the file's content is, by the entry."""
    return Digest(f"sha256:{file.lfs_sha256}" if file.lfs_sha256 else f"git-sha1:{file.blob_id}")
