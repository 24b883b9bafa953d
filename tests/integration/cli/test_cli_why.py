"""`modeldist why` of pulls without an agent."""

from __future__ import annotations

import json

from tests.servers import faults
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell


def test_a_pull_that_ended_is_explained(shell: Shell, faulty: FaultyRegistry) -> None:
    faulty.add_model("org/model", "v1", {"model.safetensors": b"w" * 100_000})
    reference = f"{faulty.host}/org/model:v1"
    snapshot = shell.pull(reference)
    done = shell.run("why", reference)
    assert done.returncode == 0, done.stderr
    assert str(snapshot) in done.stdout
    assert "came from the origin" in done.stdout
    about = json.loads(shell.run("why", "--json", reference).stdout)["pull"]
    assert (about["state"], about["origin"]) == ("done", 100_000)
    assert shell.run("why", about["pull"][:8]).stdout == done.stdout
    assert shell.run("why").stdout == done.stdout, "the newest, where none is named"


def test_a_pull_that_failed_is_explained_until_it_succeeds(shell: Shell, faulty: FaultyRegistry) -> None:
    faulty.add_model("org/model", "v1", {"model.safetensors": b"w" * 100_000})
    reference = f"{faulty.host}/org/model:v1"
    faulty.inject(faults.corrupted(10), on="blobs")
    sentence = shell.fails(10, "pull", reference)
    told = shell.run("why", reference).stdout
    assert ": failed," in told
    assert all(line.split(maxsplit=1)[1] in sentence for line in told.splitlines() if line.startswith("  error"))
    faulty.heal()
    shell.pull(reference)
    assert ": done," in shell.run("why", reference).stdout


def test_a_pull_nobody_knows(shell: Shell) -> None:
    assert "org/unknown" in shell.fails(4, "why", "org/unknown")
    assert "No pull has run on this machine yet" in shell.fails(4, "why")


def test_what_cannot_be_had_is_told_from_what_broke(shell: Shell, faulty: FaultyRegistry) -> None:
    faulty.add_model("org/model", "v1", {"model.safetensors": b"w" * 1000})
    reference = f"{faulty.host}/org/model:absent"
    shell.fails(4, "pull", reference)
    told = json.loads(shell.run("why", "--json", reference).stdout)
    assert told["bottleneck"] == "not_found"
    assert told["evidence"][0].startswith("The error is not_found, after ")
    assert told["evidence"][-1] == "Nothing had come."
    assert told["remedy"] in shell.run("why", reference).stdout
