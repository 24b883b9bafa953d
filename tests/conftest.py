"""What tests of several rooms start: a user's shell, a real registry, a faulty one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry
from tests.servers.shell import Shell

# No test is timed: on a busy machine an example, or making one, takes as long as it takes. A commit's tests give one
# verdict, whoever runs them: they draw the same examples each time. `make explore` draws others, and more of them.
settings.register_profile(
    "verdict", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "explore",
    max_examples=int(os.environ.get("EXAMPLES", "5000")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "verdict"))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "user").mkdir()
    return Shell(tmp_path / "user")


@pytest.fixture
def faulty() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as running:
        yield running


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry") as running:
        yield running
