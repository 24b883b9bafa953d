from __future__ import annotations

from collections.abc import Iterator

import pytest

from rdma import Unreachable
from rdma.double import MemoryFabric
from tests.verbs.conformance import Conformance, Ends, connect, filled, read, test_what_no_queue_pair_can_be

__all__ = ["test_what_no_queue_pair_can_be"]


@pytest.fixture
def fabric() -> MemoryFabric:
    return MemoryFabric()


@pytest.fixture
def ends(fabric: MemoryFabric) -> Iterator[Ends]:
    devices = fabric.device("one"), fabric.device("other")
    yield devices
    for device in devices:
        device.close()


class TestDouble(Conformance):
    def test_separated_devices(self, fabric: MemoryFabric, ends: Ends) -> None:
        parent, child = connect(ends)
        source, _ = filled(ends[0], 4096)
        remote = parent.expose(source, 0, 4096).remote
        fabric.separate("one", "other")
        assert isinstance(read(child, remote, ends[1].allocate(4096)), Unreachable)
