"""Leases and reservations end also where their files cannot be removed, as on a disk that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modeldist.agent.store import Store
from modeldist.agent.store.live import Lease, Reservation
from modeldist.artifact import Digest
from tests.servers.artifacts import sha256

SHARD = Digest(sha256(b"a shard"))


@pytest.mark.parametrize(
    ("take", "kind"),
    [
        (lambda store: store.lease([SHARD]), "lease"),
        (lambda store: store._live.reserve(1000, store.root), "reservation"),
    ],
    ids=["lease", "reservation"],
)
def test_they_end_and_say_nothing_in_place_of_what_failed(
    store: Store, take: Callable[[Store], Lease | Reservation], kind: str
) -> None:
    before = descriptors_now()
    with pytest.raises(ValueError, match="the reason"), take(store):
        (held,) = (store.root / "live").glob(f"{kind}-*")
        held.unlink()
        held.mkdir()  # what cannot be unlinked
        raise ValueError("the reason")
    assert descriptors_now() == before


def descriptors_now() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
