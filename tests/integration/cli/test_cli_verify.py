"""`modeldist verify`: damage on the disk is found, named, removed, and pulled again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.test_cli_archives import archive, publish
from tests.servers.cluster import Cluster, finish
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

FILES = {"config.json": b"{}", "sub/model.safetensors": os.urandom(100_000)}


@pytest.fixture
def reference(faulty: FaultyRegistry) -> str:
    faulty.add_model("org/model", "v1", FILES)
    return f"{faulty.host}/org/model:v1"


def flip(file: Path) -> None:
    """One byte becomes another, as a bad disk would have it: same size, same name."""
    file.chmod(0o644)
    with file.open("r+b") as opened:
        first = opened.read(1)
        opened.seek(0)
        opened.write(bytes([first[0] ^ 1]))


def whole(snapshot: Path, files: dict[str, bytes] = FILES) -> bool:
    return all((snapshot / path).read_bytes() == content for path, content in files.items())


def test_what_is_whole(shell: Shell, reference: str) -> None:
    assert shell.run("verify").stdout == "0 files, 0 B: all as their digests say.\n"
    assert not shell.store.exists()
    shell.pull(reference)
    said = shell.run("verify").stdout
    assert said.startswith(f"{len(FILES)} files, "), "each once, however many names it has"
    assert said.endswith(": all as their digests say.\n")
    about = json.loads(shell.run("verify", "--json", reference).stdout)
    assert about["bytes"] == sum(map(len, FILES.values())), "hard links are read once"
    assert (about["damaged"], about["removed"], about["error"]) == ([], False, None)
    assert "org/other" in shell.fails(4, "verify", "org/other")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (flip, "is damaged"),
        (lambda file: file.write_bytes(b"short"), "has another size"),
        (Path.unlink, "is missing"),
    ],
    ids=["content", "size", "missing"],
)
def test_damage_is_named_removed_and_pulled_again(
    shell: Shell, faulty: FaultyRegistry, reference: str, harm: Callable[[Path], None], words: str
) -> None:
    faulty.add_model("org/whole", "v1", {"other.bin": b"other"})
    shell.pull(f"{faulty.host}/org/whole:v1")
    snapshot = shell.pull(reference)
    harm(snapshot / "sub/model.safetensors")
    found = shell.run("verify")
    assert found.returncode == 20
    assert f"sub/model.safetensors of {reference} {words}" in found.stdout
    assert f"`modeldist pull {reference}` brings it again" in found.stdout
    assert "config.json" not in found.stdout
    assert found.stderr.count("\n") == 1
    assert reference in found.stderr
    assert "org/whole" not in found.stdout + found.stderr
    assert shell.run("verify", f"{faulty.host}/org/whole:v1").returncode == 0
    about = json.loads(shell.run("verify", "--json", reference).stdout)
    assert about["error"]["code"] == "store_damaged"
    assert {damage["file"] for damage in about["damaged"]} == {"sub/model.safetensors"}

    assert shell.run("verify", "--remove", reference).returncode == 20
    assert shell.pull(reference) == snapshot
    assert whole(snapshot)
    assert shell.run("verify").returncode == 0


def test_an_archive_that_is_damaged_is_fetched_again(shell: Shell, faulty: FaultyRegistry) -> None:
    reference = publish(faulty, {"application/vnd.cncf.model.weight.v1.tar": archive(FILES)})
    snapshot = shell.pull(reference)
    assert shell.run("verify").returncode == 0
    flip(snapshot / "config.json")
    flip(max((shell.store / "blobs").rglob("*"), key=lambda path: path.stat().st_size * path.is_file()))
    found = json.loads(shell.run("verify", "--json").stdout)
    assert len(found["damaged"]) == 2
    shell.run("verify", "--remove")
    assert shell.pull(reference) == snapshot
    assert whole(snapshot)
    assert shell.run("verify").returncode == 0


def test_a_damaged_shard_that_no_model_uses(shell: Shell, reference: str) -> None:
    shell.pull(reference)
    for record in (shell.store / "artifacts").glob("*.json"):
        record.unlink()
    flip(max((shell.store / "blobs").rglob("*"), key=lambda path: path.stat().st_size * path.is_file()))
    assert "no model uses it" in shell.run("verify", "--remove").stdout
    assert shell.run("verify").returncode == 0


def test_the_store_of_an_agent(tmp_path: Path, faulty: FaultyRegistry, reference: str) -> None:
    with Cluster(tmp_path, agents=1) as cluster:
        snapshot = Path(finish(cluster.pull(0, reference))["path"])
        flip(snapshot / "sub/model.safetensors")
        done = cluster.run(0, "verify", "--remove", reference)
        assert (done.returncode, f"`modeldist pull {reference}`" in done.stdout) == (20, True), done.stderr
        again = finish(cluster.pull(0, reference))
        assert (again["path"], again["origin"]) == (str(snapshot), 100_000)
        assert whole(snapshot)
        assert cluster.run(0, "verify").returncode == 0


def test_repair_brings_back_what_was_meant(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    snapshot = shell.pull(reference)
    faulty.add_model("org/model", "v1", {"config.json": b"{1}"})  # the tag moves
    flip(snapshot / "sub/model.safetensors")
    done = shell.run("verify", "--repair")
    assert done.returncode == 0, done.stderr
    assert "is damaged" in done.stdout
    assert "is whole again: 0 B from peers, 100 kB from the origin." in done.stdout
    assert whole(snapshot)
    assert shell.run("verify").returncode == 0
    (row,) = json.loads(shell.run("ls", "--json").stdout)
    assert row["references"] == [reference], "no name was added, and none moved"
    assert json.loads(shell.run("verify", "--repair", "--json").stdout)["repaired"] == []


def test_repair_that_fails_says_why(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    snapshot = shell.pull(reference)
    flip(snapshot / "sub/model.safetensors")
    faulty.blobs.clear()
    done = shell.run("verify", "--repair")
    assert done.returncode == 20
    assert "could not be brought again" in done.stderr
    assert f"Pull again: {reference}" in done.stderr
    assert not (snapshot / "sub/model.safetensors").exists()


def test_repair_by_an_agent_comes_from_peers(tmp_path: Path, faulty: FaultyRegistry, reference: str) -> None:
    with Cluster(tmp_path, agents=2) as cluster:
        finish(cluster.pull(0, reference))
        snapshot = Path(finish(cluster.pull(1, reference))["path"])
        flip(snapshot / "sub/model.safetensors")
        done = cluster.run(1, "verify", "--repair", reference)
        assert done.returncode == 0, done.stderr
        assert "is whole again: 100 kB from peers, 0 B from the origin." in done.stdout
        assert whole(snapshot)
        assert cluster.run(1, "verify").returncode == 0
