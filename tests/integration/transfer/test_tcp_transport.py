"""The TCP transport behaves like a transport, and leaves nothing behind."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modeldist.transfer.base import CheckCapability, ServerLimits
from modeldist.transfer.tcp import TcpPieceServer, TcpTransport
from tests.unit.transfer.shelf import Shelf, until
from tests.unit.transfer.transport_conformance import TransportConformance, World


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("serve", "fetch", "piece"))}


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


class TestTcpTransport(TransportConformance):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        def serve(shelf: Shelf, check: CheckCapability, limits: ServerLimits) -> TcpPieceServer:
            return TcpPieceServer(shelf, host="127.0.0.1", check=check, limits=limits, node="parent")

        before = _descriptors()
        world = World(tmp_path, serve, TcpTransport())
        yield world
        await world.end()
        await until(lambda: not _threads())
        await until(lambda: _descriptors() <= before)
