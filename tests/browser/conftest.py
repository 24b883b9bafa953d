"""A browser, and a cluster of four nodes in two racks whose origin takes its time.

What the extra `web` brings is imported where it is used: pytest reads this file also where it looks for other tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from modeldist.client import Client
from tests.servers import faults
from tests.servers.cluster import Cluster
from tests.servers.oci_faults import FaultyRegistry

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.eyes import Eyes

PATIENCE = 30_000  # milliseconds; a machine that does much else is slow, and no test is of speed
RACKS = ("r1", "r1", "r2", "r2")


class Town:
    """`slow` is bytes a second of each read of the origin."""

    def __init__(self, cluster: Cluster, registry: FaultyRegistry) -> None:
        self.cluster = cluster
        self.registry = registry
        self.client = Client(cluster.url, cluster.token("admin"))

    def model(self, name: str, size: int, slow: float | None = None) -> str:
        """Its reference."""
        files = {"config.json": b"{}", "model.safetensors": os.urandom(size)}
        self.registry.add_model(f"acme/{name}", "v1", files)
        if slow is not None:
            self.registry.inject(faults.slow(slow), on="blobs")
        return f"{self.registry.host}/acme/{name}:v1"

    def read_token(self) -> str:
        """As docs/console.md has it made."""
        made = self.cluster.run(
            0, "token", "create", "dashboard", "--scope", "read", "--state-dir", str(self.cluster.home / "control")
        )
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import expect, sync_playwright

    from tests.browser.eyes import chromium

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    nodes = {
        index: {"MODELDIST_AGENT_RACK": rack, "MODELDIST_AGENT_ZONE": "z1", "MODELDIST_AGENT_LABELS": '{"gpu": "h100"}'}
        for index, rack in enumerate(RACKS)
    }
    with (
        FaultyRegistry() as registry,
        Cluster(tmp_path_factory.mktemp("town"), len(RACKS), nodes=nodes) as cluster,
    ):
        found = Town(cluster, registry)
        with found.client:
            yield found


@pytest.fixture
def eyes(browser: Browser, town: Town) -> Iterator[Eyes]:
    """Nothing that it showed may have failed in it, or broken its content security policy."""
    from tests.browser.eyes import Eyes

    looking = Eyes(browser, town.cluster.url)
    yield looking
    looking.context.close()
    town.registry.heal()
    assert looking.complaints == []
