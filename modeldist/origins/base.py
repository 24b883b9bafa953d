"""What an origin must offer, and how its bytes are read.

Resolving is async (few, latency-bound requests: manifests, listings). Reading is blocking and runs in threads (many
bytes): `RangeReader.read` writes straight into a file descriptor, so an implementation is free to splice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from modeldist.artifact import Artifact, Digest

OnBytes = Callable[[int], None]
"""Called with the number of new bytes written, often enough to show progress (at least once per MiB); with 0 where none
came for a while, as a chance to stop."""


class RangeReader(Protocol):
    """Reads ranges of one artifact's shards. Not thread-safe: each reading thread opens its own; keeps its
    connection alive between reads."""

    def read(self, shard: Digest, start: int, length: int, fd: int, offset: int, on_bytes: OnBytes) -> None:
        """Copy bytes [start, start+length) of `shard` to file descriptor `fd` at `offset`.

        Makes exactly one request for the range unless that request fails; a retry asks only for what is missing.
        `on_bytes` is told of every byte once. May raise whatever `on_bytes` raises (used to stop early).
        Raises an OriginError subclass that names the thing; IntegrityError if the content changed at the origin.
        """

    def ahead(self, shard: Digest, start: int, length: int) -> None:
        """After the next read comes this one: where that saves time, ask the origin already. Blocks no longer than
        sending a request takes; what fails is left to the read."""

    def close(self) -> None:
        """Let go of the connections; a later read makes new ones."""


class Origin(Protocol):
    """One kind of origin, bound to its settings and credentials."""

    def matches(self, reference: str) -> bool:
        """Whether `reference` is written for this kind of origin."""

    async def resolve(self, reference: str) -> Artifact:
        """What the reference means now. Raises InvalidReference, OriginError, IntegrityError, Unsupported."""

    async def still(self, artifact: Artifact, reference: str) -> bool:
        """Whether `reference` still means `artifact`, by one cheap request without a body (True when pinned,
        without any request). Raises OriginError."""

    def reader(self, artifact: Artifact) -> RangeReader:
        """A reader for the artifact's shards (no I/O yet)."""

    async def close(self) -> None: ...
