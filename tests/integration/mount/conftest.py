"""A hub whose answers a test can hold, and a node without an agent."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.arriving.conftest import hub, served_hub
from tests.integration.mount.mounts import Shell
from tests.servers.hub import Hub

__all__ = ["hub", "served_hub"]


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
