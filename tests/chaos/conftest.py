"""Every run draws its own moments; the seed is printed with a failure and can be given: MODELDIST_CHAOS_SEED=…"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.servers.cluster import Cluster
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.postgres_cluster import PostgresCluster, postgres_binaries, postgres_cluster


@pytest.fixture(scope="session")
def seed() -> int:
    return int(os.environ.get("MODELDIST_CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))


@pytest.fixture
def rng(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """One test's own source of chance: the same whichever tests run beside it."""
    print(f"MODELDIST_CHAOS_SEED={seed}")
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture(scope="session")
def faulty() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), 4) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server under /usr/lib/postgresql")
    with postgres_cluster(binaries) as cluster:
        yield cluster
