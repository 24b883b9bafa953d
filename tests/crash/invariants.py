"""What must hold of a store that is opened on whatever a crash has left, asked through what the store offers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from modeldist.agent.store import Store
from modeldist.artifact import Digest
from modeldist.errors import NotFound
from tests.crash.models import PIECE, Model, pull
from tests.crash.operations import Operation

Promises = Collection[tuple[object, ...]]
_LATER = 1000 * 86_400.0  # seconds after which gc keeps nothing for its youth
_SKELETON = ("VERSION", "node-id", "artifacts/lock", "live/", "hub/CACHEDIR.TAG", "hub/.locks/", "scrub.json")


class Violation(AssertionError):
    """An invariant does not hold."""


def go_on(operation: Operation, promises: Promises, root: Path) -> None:
    """What was wanted is pulled to its end. Raises Violation, and whatever the store raises that it should not."""
    store = Store.open(root, formats=operation.formats, tell=_unheard)
    if operation.damaged:
        store.remove_damaged(store.audit())
    else:
        _refs(store, operation)
    _look(store, operation)
    _keeps(store, operation, promises)
    read: list[tuple[Digest, int]] = []
    for model in operation.wanted:
        pull(store, model, read=read)
        _require(store.snapshot(model.artifact) is not None, f"{model.reference} is not READY after its pull")
    _read_again(read, promises)
    _look(store, operation)
    _refs(store, operation)
    audit = store.audit()
    _require(not audit.damages, f"after the pull, verify finds {audit.damages}")
    _leaves_nothing(store, operation)
    store.close()


def give_up(operation: Operation, promises: Promises, root: Path) -> None:
    """Nobody pulls again. Raises as `go_on`."""
    store = Store.open(root, formats=operation.formats, tell=_unheard)
    _leaves_nothing(store, operation)
    store.close()


def _unheard(_: str) -> None:
    """What is said of a migration."""


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)


def _look(store: Store, operation: Operation) -> None:
    for path in (store.root / "blobs" / "sha256").glob("*/*"):
        content = path.read_bytes()
        _require(hashlib.sha256(content).hexdigest() == path.name, f"a complete shard with a wrong digest: {path.name}")
    for model in operation.models:
        for shard in model.artifact.shards:
            _shard(store, model, shard.digest)
        folder = store.snapshot(model.artifact)
        if folder is not None:
            _ready(model, folder)


def _shard(store: Store, model: Model, digest: Digest) -> None:
    data = model.content(digest)
    path = store.path(digest)
    if path is not None:
        _require(path.read_bytes() == data, f"{digest} is complete and other than it was")
    elif (sparse := store.sparse(digest)) is not None:
        there = sparse.path.read_bytes()
        for start, stop in sparse.ranges:
            _require(there[start:stop] == data[start:stop], f"{digest} is settled and wrong in [{start}, {stop})")
    if (table := store.piece_digests(digest)) is not None:
        from blake3 import blake3

        size, digests = table
        real = {at: blake3(data[at * size : (at + 1) * size]).digest() for at in range(-(-len(data) // size))}
        _require(digests == real, f"kept piece digests of {digest} are wrong")


def _ready(model: Model, folder: Path) -> None:
    for file in model.artifact.files:
        if file.encoding != "raw":
            continue
        there, data = (folder / file.path).read_bytes(), model.files[file.path]
        for start, stop in file.ranges or ((0, len(data)),):
            _require(there[start:stop] == data[start:stop], f"READY, and {file.path} of {model.reference} is wrong")
    for path, data in model.inside:
        _require((folder / path).read_bytes() == data, f"READY, and {path} of {model.reference} is wrong")


def _refs(store: Store, operation: Operation) -> None:
    """As programs see the hub: what a tag names is there."""
    for ref in store.hub.glob("models--*/refs/*"):
        revision = ref.read_text()
        folder = ref.parents[1] / "snapshots" / revision
        named = [
            model
            for model in operation.models
            if model.artifact.revision == revision
            and ref.is_relative_to(store.hub / f"models--{model.artifact.repo_id.replace('/', '--')}")
        ]
        _require(bool(named), f"the tag {ref.name} in the hub names {revision!r}")
        _require(folder.is_dir(), f"the tag {ref.name} in the hub names a snapshot that is not there")
        for path in _paths(named[0]):
            _require((folder / path).is_file(), f"the tag {ref.name} in the hub names a snapshot without {path}")


def _paths(model: Model) -> Iterator[str]:
    yield from (file.path for file in model.artifact.files if file.encoding == "raw")
    yield from (path for path, _ in model.inside)


def _keeps(store: Store, operation: Operation, promises: Promises) -> None:
    by_reference = {model.reference: model for model in operation.models}
    for promise in sorted(promises, key=str):
        kind, about = promise[0], promise[1]
        if kind == "complete":
            held = store.has(about)
        elif kind == "recorded":
            held = store.lookup(about) is not None
        elif kind == "pinned":
            held = store.lookup(about) is not None and store.pinned(about)
        elif kind == "ready":
            held = store.snapshot(by_reference[about].artifact) is not None
        elif kind == "settled":
            sparse = store.sparse(about)
            held = store.has(about) or (sparse is not None and sparse.covers(promise[2]))
        elif kind == "wanting":
            held = about in store.scrubber.round.wanting
        elif kind == "gone":
            held = _is_gone(store, by_reference[about])
        else:
            continue  # pieces: that they are not read again
        _require(held, f"the store had said {promise}, and it is not so")


def _is_gone(store: Store, model: Model) -> bool:
    try:
        pinned = store.pinned(model.reference)
    except NotFound:
        pinned = False
    return store.lookup(model.reference) is None and store.snapshot(model.artifact) is None and not pinned


def _read_again(read: list[tuple[Digest, int]], promises: Promises) -> None:
    pieces = {(promise[1], promise[3]) for promise in promises if promise[0] == "piece"}
    whole = {promise[1] for promise in promises if promise[0] == "complete"}
    lost = [(digest, piece) for digest, piece in read if (digest, piece) in pieces or digest in whole]
    _require(not lost, f"finished pieces of {PIECE} bytes were read again: {lost}")


def _leaves_nothing(store: Store, operation: Operation) -> None:
    """All that is here is of an artifact, which `rm` removes, or garbage, which `gc` does."""
    later = Store.open(store.root, clock=lambda: time.time() + _LATER, formats=operation.formats, tell=_unheard)
    for stored in later.artifacts():
        later.remove(stored.artifact.digest)
    later.gc()
    later.reserve(0).release()
    left = [str(path.relative_to(store.root)) for path in store.root.rglob("*") if not path.is_dir()]
    left += [str(path.relative_to(store.root)) for path in (store.root / "partial").iterdir()]
    left += [str(path.relative_to(store.root)) for path in store.hub.glob("models--*")]
    left = [path for path in left if not path.startswith(_SKELETON)]
    _require(not left, f"neither rm of every artifact nor gc removes {left}")
