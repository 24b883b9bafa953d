from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.engine_cluster import EngineCluster


@pytest.fixture
def cluster(tmp_path: Path) -> EngineCluster:
    return EngineCluster(tmp_path)
