"""A database that goes away under a control plane that runs: nobody is kept from pulling by it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from modeldist.control.resolver import Resolver
from modeldist.control.store.artifacts import Artifacts
from modeldist.control.store.database import Database
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.postgres_cluster import postgres_binaries, postgres_cluster

REFERENCE = "memory://org/model:v1"


@pytest.fixture
def binaries() -> Path:
    found = postgres_binaries()
    if found is None:
        pytest.skip("no PostgreSQL server under /usr/lib/postgresql")
    return found


async def test_references_are_resolved_all_the_same(
    binaries: Path, origin: MemoryOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    with postgres_cluster(binaries) as cluster:
        database = await Database.open(cluster.new_database())
        artifacts = Artifacts(database)
        resolver = Resolver(origin, artifacts, time.monotonic)
        before = await resolver.resolve(REFERENCE)
    assert await resolver.resolve(REFERENCE) == before
    assert origin.requests[f"resolve {REFERENCE}"] == 2  # it was not known any more
    assert await artifacts.get(before.digest) == before
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert f"the database does not say what {REFERENCE} meant" in caplog.text
    await database.close()
    await resolver.close()
