"""Artifacts from one registry or layout to another, byte for byte, without a copy in between.

    root ── (index) ── manifests ── blobs          what the reference leads to
      └─ referrers, `sha256-<hex>.sig` tags        signatures, chunk tables: what leads to it

Blobs go first, several at once; then manifests, those that others lead to before those that lead to them; then what
refers to them; the tag last, so that it never names what is incomplete or not signed yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from modelpack.errors import DigestMismatch, InvalidManifest, RegistryError, UnsupportedArtifact
from modelpack.manifest import Descriptor, Index, Manifest, choose_manifest, parse_manifest
from modelpack.mediatypes import INDEXES, MANIFESTS
from modelpack.oci.ends import How, Source, Target
from modelpack.oci.manifests import FetchedManifest
from modelpack.oci.transfer import PARALLEL, Progress, all_of, blobs_of

MAX_NESTING = 4  # indexes within indexes, referrers of referrers
MAX_MANIFESTS = 10_000
_COSIGN_TAGS = ("sig", "att", "sbom")  # sha256-<hex>.sig: signatures where cosign kept them before referrers


class CopyStopped(Exception):
    """`stop` was set. What has arrived stays, and the next copy goes on from there."""


Select = Callable[[Index], Descriptor]


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy made of a reference. `digest` is that of the manifest the tag names; `referrers` and `tags` count
    what was copied beside it."""

    digest: str
    manifests: int
    referrers: int
    tags: int


def for_platform(platform: str) -> Select:
    """Choose the one manifest for `os/architecture[/variant]` from an index. Raises UnsupportedArtifact."""
    parts = platform.split("/")

    def choose(index: Index) -> Descriptor:
        for entry in index.manifests:
            if entry.platform is not None:
                its = (entry.platform.os, entry.platform.architecture, entry.platform.variant)
                if all(wanted == own for wanted, own in zip(parts, its, strict=False)):
                    return entry
        known = sorted({f"{e.platform.os}/{e.platform.architecture}" for e in index.manifests if e.platform})
        raise UnsupportedArtifact(
            f"The index has nothing for the platform {platform}.",
            remedy=f"It has: {', '.join(known) or 'none that names a platform'}.",
        )

    return choose


def the_model(index: Index) -> Descriptor:
    """Choose the one model from an index. Raises UnsupportedArtifact."""
    return choose_manifest(index)


async def copy_artifact(
    source: Source,
    target: Target,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    select: Select | None = None,
    referrers: bool = True,
    parallel: int = PARALLEL,
    expect: str = "",
    stop: asyncio.Event | None = None,
) -> CopyReport:
    """Copy what `source` means to `target` and move its tag there.

    An index is copied with all it leads to, or only what `select` chooses from it. Blobs the target has are not sent;
    what is sent is verified on its way. Interrupted, the next copy goes on where this one ended; `stop`, when set, ends
    this one by CopyStopped between two chunks. `expect`: the digest the result must have. Raises RegistryError,
    LayoutError, DigestMismatch, SizeMismatch, InvalidManifest, UnsupportedArtifact.
    """
    tree = _Tree(source)
    root = await tree.root(select)
    if expect and root.digest != expect:
        raise DigestMismatch(
            f"The source has the digest {root.digest} and the target is pinned to {expect}.",
            remedy="Leave the digest out of the target, or name the source by it.",
        )
    await tree.add(root, MAX_NESTING)
    if referrers:
        await tree.add_referrers()
    tell = on_progress or (lambda progress: None)

    async def take(blob: Descriptor) -> None:
        def step(how: How, done: int) -> None:
            tell(Progress(blob, how, done))

        await target.take(blob, source, step)

    with target.adding():
        await all_of(take, sorted(tree.blobs.values(), key=lambda blob: -blob.size), parallel)
        if stop is not None and stop.is_set():
            raise CopyStopped
        for manifest in tree.manifests.values():
            if manifest.digest != root.digest:
                await target.put(manifest)
        if tree.referrers or tree.tags:
            await target.put(root)
        for manifest in tree.referrers.values():
            await target.refer(manifest)
        for tag, manifest in tree.tags.items():
            await target.name(manifest, tag)
        if parse_manifest(root.raw, root.media_type).subject is not None:
            await target.refer(root)  # it is about another manifest itself
        await target.name(root, "")
    return CopyReport(root.digest, len(tree.manifests), len(tree.referrers), len(tree.tags))


@dataclass
class _Tree:
    """Everything that belongs to one artifact; in `manifests`, each comes after those it leads to."""

    source: Source
    blobs: dict[str, Descriptor] = field(default_factory=dict)
    manifests: dict[str, FetchedManifest] = field(default_factory=dict)
    referrers: dict[str, FetchedManifest] = field(default_factory=dict)
    tags: dict[str, FetchedManifest] = field(default_factory=dict)

    async def root(self, select: Select | None) -> FetchedManifest:
        found = await self.source.root()
        for _ in range(MAX_NESTING):
            parsed = parse_manifest(found.raw, found.media_type)
            if select is None or isinstance(parsed, Manifest):
                return found
            found = await self.source.manifest(select(parsed))
        raise _too_deep(found)

    async def add(self, found: FetchedManifest, depth: int) -> None:
        """Raises InvalidManifest."""
        if found.digest in self.manifests:
            return
        parsed = parse_manifest(found.raw, found.media_type)
        if isinstance(parsed, Manifest):
            self._add_blobs(blobs_of(parsed))
        elif depth == 0:
            raise _too_deep(found)
        else:
            for child in parsed.manifests:
                if child.media_type in MANIFESTS | INDEXES:
                    await self.add(await self.source.manifest(child), depth - 1)
                else:  # image-spec allows anything; what is no manifest is a blob
                    self._add_blobs((child,))
        self._count(found)
        self.manifests[found.digest] = found

    async def add_referrers(self) -> None:
        """What refers to the manifests, what refers to that, and signatures under tags of their own."""
        waiting = [(digest, MAX_NESTING) for digest in self.manifests]
        while waiting:
            digest, depth = waiting.pop(0)
            for suffix in _COSIGN_TAGS:
                tag = f"{digest.replace(':', '-')}.{suffix}"
                if found := await self.source.tagged(tag):
                    self._add_leaf(found)
                    self.tags[tag] = found
            for descriptor in await self._referrers(digest):
                if descriptor.digest in self.referrers or depth == 0:
                    continue
                found = await self.source.manifest(descriptor)
                self._add_leaf(found)
                self._count(found)
                self.referrers[found.digest] = found
                waiting.append((found.digest, depth - 1))

    async def _referrers(self, digest: str) -> tuple[Descriptor, ...]:
        try:
            return await self.source.referrers(digest)
        except RegistryError as error:
            error.remedy = f"{error.remedy} Or copy without what refers to it: --no-referrers.".strip()
            raise

    def _add_leaf(self, found: FetchedManifest) -> None:
        parsed = parse_manifest(found.raw, found.media_type)
        if isinstance(parsed, Manifest):
            self._add_blobs(blobs_of(parsed))

    def _add_blobs(self, blobs: Iterable[Descriptor]) -> None:
        for blob in blobs:
            self.blobs.setdefault(blob.digest, blob)

    def _count(self, found: FetchedManifest) -> None:
        if len(self.manifests) + len(self.referrers) >= MAX_MANIFESTS:
            raise InvalidManifest(
                f"More than {MAX_MANIFESTS} manifests belong to the artifact; {found.digest} is one too many.",
                remedy="Copy without referrers, or one manifest of the index by its digest.",
            )


def _too_deep(found: FetchedManifest) -> InvalidManifest:
    return InvalidManifest(f"The indexes that lead to {found.digest} are nested too deeply.")
