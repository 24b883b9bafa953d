"""A node whose own disk fails while another node sends it pieces: the disk is named, and the sender not blamed."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest

from tests.servers.cluster import Cluster, finish, wait_until
from tests.servers.oci_faults import FaultyRegistry

FILES = {"model.safetensors": os.urandom(8_000_000)}
SLOW = {"MODELDIST_AGENT_UPLOAD_RATE": "3000000"}  # bytes/s


@pytest.mark.slow
def test_a_disk_that_fails_while_a_parent_sends(tmp_path: Path, faulty: FaultyRegistry) -> None:
    faulty.add_model("org/model", "v1", FILES)
    reference = f"{faulty.host}/org/model:v1"
    with Cluster(tmp_path, agents=2, environment=SLOW) as cluster:
        finish(cluster.pull(0, reference))
        pull = cluster.pull(1, reference)
        journals = cluster.store(1) / "partial"
        wait_until("the first pieces", lambda: any(journals.glob("*/journal")))
        child = cluster.agents[1].pid
        before = resource.prlimit(child, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        out, err = pull.communicate(timeout=60)
        assert pull.returncode == 12, (out, err)
        assert str(journals) in err
        assert "file size limit" in err
        failed = json.loads(out)
        assert failed["error"]["code"] == "storage"
        assert failed["notes"] == [], "no parent is blamed"

        resource.prlimit(child, resource.RLIMIT_FSIZE, before)
        result = finish(cluster.pull(1, reference))
        assert (Path(result["path"]) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
        assert result["local"] > 0
        assert result["origin"] == 0
