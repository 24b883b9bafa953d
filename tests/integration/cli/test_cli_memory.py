"""The memory of an agent does not grow with the shard it pulls."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from tests.servers.cluster import Cluster, finish
from tests.servers.files import NGINX, Nginx

SIZE = 4 << 30
LIMIT = 200 << 20


def peak_memory(pid: int) -> int:
    """VmHWM, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) << 10


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: apt-get install nginx-light)")
def test_an_agent_stays_small_while_pulling_a_shard_of_4_gb(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 2 * SIZE:
        pytest.skip("needs 8 GiB of free disk")
    root, work = tmp_path / "www", tmp_path / "nginx"
    root.mkdir()
    work.mkdir()
    with (root / "model.bin").open("wb") as file:
        file.truncate(SIZE)  # holes: zeros that take no disk here
    digest = hashlib.sha256()
    for _ in range(SIZE >> 20):
        digest.update(bytes(1 << 20))
    try:
        with Nginx(root, work) as nginx, Cluster(tmp_path / "cluster", 1) as cluster:
            result = finish(cluster.pull(0, f"{nginx.url}/model.bin#sha256={digest.hexdigest()}"))
            assert result["origin"] == SIZE
            assert Path(result["path"], "model.bin").stat().st_size == SIZE
            assert peak_memory(cluster.agents[0].pid) < LIMIT
            print(f"peak memory of the agent: {peak_memory(cluster.agents[0].pid) >> 20} MiB")
    finally:
        shutil.rmtree(tmp_path / "cluster", ignore_errors=True)
