"""A control plane per test, on SQLite or on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.postgres_cluster import PostgresCluster, postgres_binaries, postgres_cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server under /usr/lib/postgresql")
    pytest.importorskip("asyncpg", reason="asyncpg (the extra postgres) is not installed")
    with postgres_cluster(binaries) as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: every test that asks for it runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.sqlite"
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    return cluster.new_database()


@pytest.fixture
def origin() -> MemoryOrigin:
    origin = MemoryOrigin()
    origin.add("memory://org/model:v1", {"config.json": b"{}", "model.safetensors": b"x" * 1000})
    return origin


@pytest.fixture
async def control(tmp_path: Path, origin: MemoryOrigin, database_url: str) -> AsyncIterator[ServedControlPlane]:
    async with served_control_plane(tmp_path / "state", origin, database_url) as served:
        yield served


@pytest.fixture
async def sqlite_control(tmp_path: Path, origin: MemoryOrigin) -> AsyncIterator[ServedControlPlane]:
    """For what has nothing to do with the store."""
    async with served_control_plane(tmp_path / "state", origin) as served:
        yield served
