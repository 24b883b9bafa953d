"""Some of the crashes that `make crash` tries all of, each operation on its own; and that the exploration finds what is
wrong."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from modeldist.agent.store import taking_in
from tests.crash.exploring import explore
from tests.crash.operations import OPERATIONS, Operation

_NAMED = {operation.name: operation for operation in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_crash_leaves_a_sound_store(operation: Operation) -> None:
    found = explore(operation, kills=11, losses=2003)
    assert found.disks > 0
    assert not found.violations


def test_names_without_synced_content_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def believes(fds: Sequence[int]) -> list[OSError | None]:
        return [None] * len(fds)

    monkeypatch.setattr(taking_in, "sync_all", believes)
    found = explore(_NAMED["small shards"], kills=1000, losses=199)
    assert any("a complete shard with a wrong digest" in wrong for wrong in found.violations)
