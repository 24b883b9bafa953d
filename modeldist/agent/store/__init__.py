"""The node's content-addressed store: blobs, journaled partial files, Hugging Face shaped snapshots, collector.

Imports `modeldist.{artifact,errors}`, `scheduler.pieces`, the protocols of `transfer.base` and `modelpack`. Everything
here blocks (asyncio callers use threads) and is safe between threads and between processes on one root.

    store.py        Store: the one door, everything below is reached through it
    places.py       where things are on disk
    partial.py      Partial: a shard being fetched         journal.py, recheck.py   what survives a crash
    follower.py     sha256 alongside the transfer          buffers.py               the bounded memory of all hashing
    blobs.py        complete shards and their aliases      piece_tables.py          their piece digests
    opening.py      how a Partial comes to be              directory.py             what the piece server may read
    records.py      artifacts, references, pins            live.py, locks.py        leases and reservations of processes
    hub.py          snapshots in the Hugging Face layout   linking.py, unpacking.py, trees.py    what they are made of
    claims.py       disk for what is unpacked              sync_many.py             one wait for many files
    taking_in.py    small shards that one reader brings whole
    collector.py    rm, gc, eviction                           withdrawal.py            taking snapshots out of a hub
    watermarks.py, room.py, eviction.py    when models go for others, and which    staying.py    why one may not
    audit.py        reading again what is here             scrubbing.py, rounds.py    the same, slowly
    formats.py      what a store was before, and how it becomes what it is now
    reusing.py      what of a new shard old ones have      known_cuts.py            where shards may be cut
    sparse_shards.py, selections.py    shards of which ranges are wanted, and the files with holes behind snapshots
    atomic.py       files whole or not at all              failures.py              errors for users
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeldist.agent.store.audit import Audit, Damage, InPart
    from modeldist.agent.store.collector import Evicted, GcReport, Removed
    from modeldist.agent.store.failures import ShardLocked
    from modeldist.agent.store.live import Lease, Reservation
    from modeldist.agent.store.partial import Partial, commit_all
    from modeldist.agent.store.records import StoredArtifact
    from modeldist.agent.store.store import Store
    from modeldist.agent.store.taking_in import Taken, WrongContent

__all__ = [
    "Audit",
    "Damage",
    "Evicted",
    "GcReport",
    "InPart",
    "Lease",
    "Partial",
    "Removed",
    "Reservation",
    "ShardLocked",
    "Store",
    "StoredArtifact",
    "Taken",
    "WrongContent",
    "commit_all",
]

_HOMES = {
    "Audit": "audit",
    "Damage": "audit",
    "Evicted": "collector",
    "GcReport": "collector",
    "InPart": "audit",
    "Lease": "live",
    "Partial": "partial",
    "Removed": "collector",
    "Reservation": "live",
    "ShardLocked": "failures",
    "Store": "store",
    "StoredArtifact": "records",
    "Taken": "taking_in",
    "WrongContent": "taking_in",
    "commit_all": "partial",
}


def __getattr__(name: str) -> object:
    """The public names, imported when first asked for: a look at what is here must not wait for what fetches."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
