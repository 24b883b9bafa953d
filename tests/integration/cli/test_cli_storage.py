"""A node whose disk is small or bad, as the people who run agents see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.test_cli_verify import flip
from tests.servers.cluster import MODELDIST, Cluster, finish, wait_until
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

KB = 1000
WAITS = "import signal, sys; print('ready', flush=True); signal.pause()"


def publish(faulty: FaultyRegistry, name: str) -> str:
    faulty.add_model(f"org/{name}", "v1", {"config.json": b"{}", "model.safetensors": os.urandom(600 * KB)})
    return f"{faulty.host}/org/{name}:v1"


def test_models_go_for_others_but_not_those_in_use(tmp_path: Path, faulty: FaultyRegistry) -> None:
    one, two, three = (publish(faulty, name) for name in ("one", "two", "three"))
    marks = {"MODELDIST_AGENT_HIGH_WATERMARK": "1.4MB", "MODELDIST_AGENT_LOW_WATERMARK": "1300kB"}
    with Cluster(tmp_path, agents=1, environment=marks) as cluster:
        finish(cluster.pull(0, one))
        # It was started with the model, and has none of its files open.
        program = subprocess.Popen(
            [*MODELDIST, "pull", two, "--exec", sys.executable, "-c", WAITS],
            env=cluster.environment(0),
            stdout=subprocess.PIPE,
        )
        try:
            assert program.stdout is not None and program.stdout.readline() == b"ready\n"
            cluster.run(0, "pin", one)
            refused = cluster.run(0, "pull", three)
            assert refused.returncode == 13
            assert "above the high watermark (1,400,000 bytes)" in refused.stderr
            assert f"{one} (" in refused.stderr and "is pinned" in refused.stderr
            assert f"{two} (" in refused.stderr and "is in use by" in refused.stderr
            assert f"modeldist unpin {one}" in refused.stderr
            cluster.run(0, "unpin", one)
            done = finish(cluster.pull(0, three))
            assert any(f"{one} was evicted (60" in note for note in done["notes"]), done["notes"]
        finally:
            program.send_signal(signal.SIGKILL)
            program.communicate()
        rows = json.loads(cluster.run(0, "ls", "--json").stdout)
        assert {row["references"][0] for row in rows} == {two, three}
        finish(cluster.pull(0, one))
        rows = json.loads(cluster.run(0, "ls", "--json").stdout)
        assert {row["references"][0] for row in rows} == {one, three}
        assert "a model was evicted for another one" in cluster.agents[0].log
        assert "evicted at watermarks of 1,300,000 bytes to 1,400,000 bytes" in cluster.run(0, "status").stdout


def test_damage_is_found_and_repaired_by_itself(tmp_path: Path, faulty: FaultyRegistry) -> None:
    reference = publish(faulty, "model")
    with Cluster(tmp_path, agents=2, environment={"MODELDIST_AGENT_SCRUB_EVERY": "1s"}) as cluster:
        finish(cluster.pull(0, reference))
        snapshot = Path(finish(cluster.pull(1, reference))["path"])
        file = snapshot / "model.safetensors"
        right, read = file.read_bytes(), faulty.blob_bytes()
        flip(file)
        agent = cluster.agents[1]
        wait_until("it to be whole", lambda: "a damaged model is whole again" in agent.log)
        assert file.read_bytes() == right
        assert "damaged on the disk, and withdrawn" in agent.log
        assert faulty.blob_bytes() - read < 10 * KB, "the weights came from the other node"
        assert cluster.run(1, "verify").returncode == 0
        assert "scrub          every 1.0 s" in cluster.run(1, "status").stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--high-watermark", "80%", "--low-watermark", "90%"), "must be below the high one"),
        (("--high-watermark", "much"), "neither a share nor a size"),
        (("--low-watermark", "80%"), "Add --high-watermark"),
        (("--high-watermark", "9" * 400), "neither a share nor a size"),
        (("--scrub-every", "now"), "not a duration"),
        (("--scrub-every", "9" * 400 + "d"), "not a duration"),
        (("--scrub-every", "0"), "Write it like 7d, or `off`"),
    ],
)
def test_nonsense_is_refused(shell: Shell, options: tuple[str, ...], says: str) -> None:
    assert says in shell.fails(2, "agent", *options)
