from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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

    def test_a_dma_buf_is_a_destination(self, ends: Ends, tmp_path: Path) -> None:
        parent, child = connect(ends)
        source, data = filled(ends[0], 8192)
        place = tmp_path / "pages"
        place.write_bytes(bytes(3 * 8192))
        with place.open("r+b") as pages:
            into = ends[1].register_dmabuf(pages.fileno(), 8192, 8192)
        assert into.view is None
        assert into.length == 8192
        assert read(child, parent.expose(source, 0, 8192).remote, into) is None
        assert place.read_bytes() == bytes(8192) + data + bytes(8192)
