"""A hub whose answers a test can hold, and a node without an agent."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.mount.mounts import Shell
from tests.servers.hub import Hub


@pytest.fixture(scope="session")
def served_hub() -> Iterator[Hub]:
    with Hub() as served:
        yield served


@pytest.fixture
def hub(served_hub: Hub) -> Iterator[Hub]:
    yield served_hub
    served_hub.heal()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What answers are held until; a test that fails must not hold them for ever."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def shell(hub: Hub, tmp_path: Path) -> Shell:
    home = tmp_path.resolve()
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "MODELDIST_STORE": str(home / "store"),
        "MODELDIST_SOCKET": str(home / "nobody.sock"),
    }
    return Shell(home, environment)
