"""Digests: `algorithm:hex`, for the two algorithms image-spec 1.1 registers."""

from __future__ import annotations

import hashlib
import re

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")


def digest_problem(text: str) -> str:
    """Why `text` is not a sha256 or sha512 digest; empty when it is one."""
    algorithm, colon, value = text.partition(":")
    if not colon:
        return "it has no algorithm (sha256:…)"
    wanted = _HEX_LENGTH.get(algorithm)
    if wanted is None:
        return f"the algorithm {algorithm[:40]!r} is neither sha256 nor sha512"
    if len(value) != wanted or not _HEX.fullmatch(value):
        return f"{algorithm} is written as {wanted} lowercase hexadecimal digits"
    return ""


def sha256_digest(data: bytes) -> str:
    """`sha256:<hex>` of bytes in memory."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(data: bytes, like: str) -> str:
    """The digest of bytes in memory, by the algorithm of the well-formed digest `like`."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
