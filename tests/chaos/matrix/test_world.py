"""A world that cannot be made says why, and leaves nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.matrix.room import NoRoom
from tests.chaos.matrix.world import World, missing
from tests.netlab.namespaces import LabError, own, remaining

pytestmark = pytest.mark.skipif(bool(missing()), reason="no world can be made here")


@pytest.mark.parametrize(
    ("size", "kind", "why"),
    [(12 << 20, LabError, "initdb.*No space left on device"), (1 << 50, NoRoom, "GB of room are needed in /tmp")],
    ids=["no room in it", "no room for it"],
)
def test_it_says_why(size: int, kind: type[LabError], why: str) -> None:
    with pytest.raises(kind, match=f"(?s){why}"), World(1, disk=size):
        pass
    assert remaining(os.getpid()) == []
    assert list(Path("/tmp").glob(f"{own('')}*")) == []
