"""What is in a node's store, through the agent when it runs and directly when not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modeldist.agent.local_records import ArtifactRow, artifact_row
from modeldist.agent.store.failures import naming
from modeldist.agent.this_node import Node
from modeldist.cli import layouts
from modeldist.errors import NotFound

if TYPE_CHECKING:
    from modeldist.agent.store import Audit, Store


class RemovedReference(msgspec.Struct, frozen=True, kw_only=True):
    """What `rm` did."""

    reference: str
    bytes_freed: int
    artifacts: tuple[str, ...]


class CollectedArtifact(msgspec.Struct, frozen=True):
    """An artifact that `gc` removed or would remove. `reference` is pinned, and says what part of a model it was."""

    name: str
    digest: str
    reference: str


class Collected(msgspec.Struct, frozen=True):
    """What `gc` did or would do; counts beside the bytes."""

    bytes_freed: int
    artifacts: tuple[CollectedArtifact, ...]
    blobs: int
    partials: int
    scratch: int


def listing(node: Node) -> list[ArtifactRow]:
    """The most recently used first."""
    if agent := node.running_agent():
        rows = msgspec.convert(agent.artifacts(), list[ArtifactRow])
    else:
        with existing_store(node) as store:
            rows = [artifact_row(stored) for stored in (store.artifacts() if store else ())]
    return sorted(rows, key=lambda row: -row.last_used)


def remove(node: Node, reference: str) -> RemovedReference:
    """Forget one reference, and what was built under its name. Raises InvalidReference, NotFound."""
    built = discard_built(node.store, reference, node.registry)
    try:
        pulled = _remove_pulled(node, reference)
    except NotFound:
        if built is None:
            raise
        return built
    if built is None:
        return pulled
    freed, artifacts = pulled.bytes_freed + built.bytes_freed, {*pulled.artifacts, *built.artifacts}
    return RemovedReference(reference=reference, bytes_freed=freed, artifacts=tuple(sorted(artifacts)))


def discard_built(store: Path, reference: str, registry: str) -> RemovedReference | None:
    """Remove what `modeldist build` made in the store's layout; None where nothing there is called so."""
    path = layouts.layout_path(None, store)
    if not (path / "oci-layout").exists():
        return None
    from modelpack.errors import InvalidReference
    from modelpack.layout import OciLayout

    try:
        name = str(layouts.reference(reference, registry))
    except InvalidReference:
        return None  # hf:// and others are not built
    layout = OciLayout.open(path)
    if (found := layout.refs().get(name)) is None:
        return None
    with naming("remove what was built", path):
        freed = layout.discard(name)
    return RemovedReference(reference=reference, bytes_freed=freed, artifacts=(found.digest,))


def _remove_pulled(node: Node, reference: str) -> RemovedReference:
    if agent := node.running_agent():
        return msgspec.convert({"reference": reference, **agent.remove(reference)}, RemovedReference)
    key = canonical(node, reference)
    with opened_store(node) as store:
        removed = store.remove(key)
        return RemovedReference(reference=reference, bytes_freed=removed.bytes_freed, artifacts=removed.artifacts)


def collect(node: Node, *, target_free: int | None, max_age: float | None, dry_run: bool) -> Collected:
    if agent := node.running_agent():
        answer = agent.gc(target_free=target_free, max_age=max_age, dry_run=dry_run)
        return msgspec.convert(answer, Collected)
    with opened_store(node) as store:
        report = store.gc(target_free=target_free, max_age=max_age, dry_run=dry_run)
        return Collected(
            report.bytes_freed,
            tuple(
                CollectedArtifact(artifact.name, artifact.digest, artifact.reference) for artifact in report.artifacts
            ),
            report.blobs,
            report.partials,
            report.scratch,
        )


def audit(node: Node, references: Sequence[str], *, remove: bool, on_bytes: Callable[[int], object]) -> Audit:
    """Of the store that the agent works with, where one runs; reading is this process's work. Raises NotFound."""
    agent = node.running_agent()
    root = Path(agent.status()["store"]) if agent else None
    with existing_store(node if root is None else replace(node, store=root)) as store:
        if store is None:
            if references:
                raise NotFound(f"{references[0]} is not in {node.store}: nothing is.", remedy="Pull it first.")
            from modeldist.agent.store import Audit

            return Audit(0, 0, ())
        found = store.audit([canonical(node, reference) for reference in references], on_bytes=on_bytes)
        if remove and found.damages:
            store.remove_damaged(found)
        return found


def set_pin(node: Node, reference: str, *, pinned: bool) -> None:
    """Whether the collector leaves it alone. Raises InvalidReference; NotFound for a pin on what is not here."""
    if agent := node.running_agent():
        (agent.pin if pinned else agent.unpin)(reference)
        return
    with opened_store(node) as store:
        (store.pin if pinned else store.unpin)(canonical(node, reference))


def canonical(node: Node, reference: str) -> str:
    """What the store files `reference` under. Raises InvalidReference."""
    from modeldist.origins.router import Origins

    return Origins(node.origin_settings()).canonical(reference)


@contextmanager
def opened_store(node: Node) -> Iterator[Store]:
    store = node.open_store()
    try:
        yield store
    finally:
        store.close()


@contextmanager
def existing_store(node: Node) -> Iterator[Store | None]:
    """None where there is no store yet: looking must not make one."""
    if not (node.store / "VERSION").exists():
        yield None
        return
    with opened_store(node) as store:
        yield store
