"""`modeldist pull` of a model that is here: new tags, pinned references, and origins that are away."""

from __future__ import annotations

import json
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import faults
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

FILES = {"config.json": b"{}", "model.safetensors": b"w" * 100_000}


@pytest.fixture
def digest(faulty: FaultyRegistry) -> str:
    return faulty.add_model("org/model", "v1", FILES)


def refs(snapshot: Path) -> dict[str, str]:
    folder = snapshot.parents[1] / "refs"
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_new_tag_of_a_present_revision_is_named_in_the_cache(
    shell: Shell, faulty: FaultyRegistry, digest: str
) -> None:
    snapshot = shell.pull(f"{faulty.host}/org/model:v1")
    raw, media_type = faulty.manifests["org/model", "v1"]
    faulty.add_manifest("org/model", "v2", raw, media_type)
    blobs = len(faulty.seen("blobs", "GET"))
    assert shell.pull(f"{faulty.host}/org/model:v2") == snapshot
    assert refs(snapshot) == {"v1": snapshot.name, "v2": snapshot.name}
    assert len(faulty.seen("blobs", "GET")) <= blobs + 1  # the artifact's config


def test_a_tag_that_moves_there_and_back_is_named_right(shell: Shell, faulty: FaultyRegistry, digest: str) -> None:
    reference = f"{faulty.host}/org/model:v1"
    first, (raw, media_type) = shell.pull(reference), faulty.manifests["org/model", "v1"]
    faulty.add_model("org/model", "v1", {**FILES, "config.json": b"{ }"})
    second = shell.pull(reference)
    assert refs(first) == {"v1": second.name}
    faulty.add_manifest("org/model", "v1", raw, media_type)
    assert shell.pull(reference) == first
    assert refs(first) == {"v1": first.name}


def test_a_ref_that_was_lost_comes_back(shell: Shell, faulty: FaultyRegistry, digest: str) -> None:
    reference = f"{faulty.host}/org/model:v1"
    snapshot = shell.pull(reference)
    (snapshot.parents[1] / "refs" / "v1").unlink()
    assert shell.pull(reference, "--offline") == snapshot
    assert refs(snapshot) == {"v1": snapshot.name}


def test_a_pinned_reference_asks_nobody(shell: Shell, faulty: FaultyRegistry, digest: str) -> None:
    snapshot = shell.pull(f"{faulty.host}/org/model:v1")
    pinned = f"{faulty.host}/org/model@{digest}"
    before = len(faulty.seen())
    for _ in range(2):
        done = shell.run("pull", pinned)
        assert (done.stdout.strip(), done.stderr) == (str(snapshot), "")
    assert len(faulty.seen()) == before


@pytest.mark.parametrize("flags", [(), ("--offline",)])
def test_a_snapshot_is_made_of_what_is_here_while_the_origin_is_away(
    shell: Shell, faulty: FaultyRegistry, digest: str, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    reference = f"{faulty.host}/org/model:v1"
    first = shell.pull(reference)
    faulty.die()
    other = shell.pull(reference, "--hub", str(tmp_path / "other"), *flags)
    assert other.is_relative_to(tmp_path / "other")
    shutil.rmtree(shell.store / "hub")
    assert shell.pull(reference, *flags) == first
    for snapshot in (first, other):
        assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == FILES


@pytest.mark.parametrize("away", ["gone", "silent", "overloaded", "limiting"])
def test_an_origin_that_is_away_is_not_waited_for(shell: Shell, faulty: FaultyRegistry, digest: str, away: str) -> None:
    reference = f"{faulty.host}/org/model:v1"
    snapshot = shell.pull(reference)
    before = len(faulty.seen())
    with ExitStack() as stack:
        if away == "overloaded":
            faulty.inject(faults.unavailable(503), on="manifests")
        elif away == "limiting":
            faulty.inject(faults.rate_limited("3600"), on="manifests")
        else:
            faulty.die()
        if away == "silent":
            stack.enter_context(socket.create_server(("127.0.0.1", faulty.port)))
        done = shell.run("pull", reference)
        assert (done.returncode, done.stdout.strip()) == (0, str(snapshot))
        assert f"Using the copy of {reference} that is here" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert len(faulty.seen()) - before <= 3  # a glance, a question and one more try
        assert shell.run("pull", "--quiet", reference).stderr == ""
        assert reference in json.loads(shell.run("pull", "--json", reference).stdout)["stale"]


def test_nothing_is_stale_where_the_origin_answers(shell: Shell, faulty: FaultyRegistry, digest: str) -> None:
    for _ in range(2):
        assert shell.pull_json(f"{faulty.host}/org/model:v1")["stale"] == ""
