"""The in-memory double behaves like a transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modeldist.transfer.base import CheckCapability, ServerLimits
from modeldist.transfer.memory import MemoryNetwork, MemoryPieceServer, MemoryTransport
from tests.unit.transfer.shelf import Shelf
from tests.unit.transfer.transport_conformance import TransportConformance, World


class TestMemoryTransport(TransportConformance):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        network = MemoryNetwork()

        def serve(shelf: Shelf, check: CheckCapability, limits: ServerLimits) -> MemoryPieceServer:
            return MemoryPieceServer(shelf, network=network, check=check, limits=limits, node="parent")

        world = World(tmp_path, serve, MemoryTransport(network))
        yield world
        await world.end()
