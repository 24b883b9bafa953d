"""`modeldist pull` against every fault an origin or a disk can have: its exit code, its sentence, a sound store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.servers import faults
from tests.servers.cluster import wait_until
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

FILES = {"config.json": b'{"model_type": "bert"}', "model.safetensors": os.urandom(3_000_000)}


@pytest.fixture
def reference(faulty: FaultyRegistry) -> str:
    faulty.add_model("org/model", "v1", FILES)
    return f"{faulty.host}/org/model:v1"


def assert_right(snapshot: Path) -> None:
    assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == FILES


def weights(faulty: FaultyRegistry) -> int:
    """Bytes of the weights file sent so far, over all requests."""
    return sum(exchange.sent for exchange in faulty.seen("blobs", "GET"))


def assert_nothing_corrupt(shell: Shell, reference: str, faulty: FaultyRegistry) -> None:
    """Once the fault is gone the next pull gives the right files."""
    faulty.heal()
    assert_right(shell.pull(reference))


@pytest.mark.parametrize("text", ["org/UPPER:v1", "org/model:", "a b", "hf://", "s4://x/y"])
def test_a_reference_that_is_none(shell: Shell, text: str) -> None:
    sentence = shell.fails(2, "pull", text)
    assert text.split(":", maxsplit=1)[0].strip("/") in sentence


def test_an_unknown_repository_and_a_wrong_tag(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    assert "org/absent" in shell.fails(4, "pull", f"{faulty.host}/org/absent:v1")
    assert "v2" in shell.fails(4, "pull", f"{faulty.host}/org/model:v2")


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (faults.unauthorized(), 5, "login"),
        (faults.forbidden(), 6, "org/model"),
        (faults.status(404, "MANIFEST_UNKNOWN"), 4, "org/model"),
        (faults.redirect_loop(), 9, "redirect"),
    ],
    ids=["401", "403", "404", "redirect loop"],
)
def test_a_registry_that_says_no(
    shell: Shell, faulty: FaultyRegistry, reference: str, fault: faults.Fault, code: int, words: str
) -> None:
    faulty.inject(fault, on="manifests")
    sentence = shell.fails(code, "pull", reference)
    assert words in sentence
    assert faulty.host in sentence
    assert_nothing_corrupt(shell, reference, faulty)


@pytest.mark.parametrize("on", ["manifests", "blobs"])
def test_too_many_requests_are_waited_out(shell: Shell, faulty: FaultyRegistry, reference: str, on: str) -> None:
    faulty.inject(faults.rate_limited("1", times=2), on=on)
    assert_right(shell.pull(reference))


def test_a_retry_after_of_hours_ends_the_pull(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.rate_limited("7200"), on="blobs")
    sentence = shell.fails(7, "pull", reference)
    assert faulty.host in sentence
    assert_nothing_corrupt(shell, reference, faulty)


def test_a_server_error_that_passes(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.unavailable(503, times=1), on="manifests")
    faulty.inject(faults.unavailable(500, times=1), on="blobs")
    assert_right(shell.pull(reference))


@pytest.mark.slow
def test_a_server_error_that_stays(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.unavailable(502), on="manifests")
    assert faulty.host in shell.fails(8, "pull", reference)
    assert_nothing_corrupt(shell, reference, faulty)


def test_a_body_cut_short_is_resumed_not_repeated(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.truncated(500_000, times=2), on="blobs")
    assert_right(shell.pull(reference))
    assert weights(faulty) <= sum(map(len, FILES.values())) + 2 * (1 << 20)


def test_a_content_length_that_lies(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.wrong_length(+1000), on="blobs")
    assert faulty.host in shell.fails(9, "pull", reference)
    assert_nothing_corrupt(shell, reference, faulty)


def test_content_with_a_wrong_digest(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.corrupted(10), on="blobs")
    sentence = shell.fails(10, "pull", reference)
    assert "digest" in sentence or "sha256" in sentence
    assert not list((shell.store / "blobs").rglob("*/*/*"))
    assert_nothing_corrupt(shell, reference, faulty)


@pytest.mark.slow
def test_a_registry_that_goes_away_in_mid_pull(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.slow(400_000), on="blobs")
    process = shell.start("pull", reference)
    wait_until("half of the weights", lambda: weights(faulty) > 1_500_000)
    faulty.die()
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (8, ""), err
    assert faulty.host in err
    faulty.heal()
    faulty.restart()
    before = weights(faulty)
    result = shell.pull_json(reference)
    assert_right(Path(result["path"]))
    assert result["local"] > 0
    assert weights(faulty) - before <= result["origin"] + 1000  # and the artifact's config


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_too_small_is_found_before_the_first_byte(
    shell: Shell, faulty: FaultyRegistry, reference: str
) -> None:
    shell.store.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(shell.store)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        sentence = shell.fails(13, "pull", reference)
        assert str(shell.store) in sentence
        served = {exchange.path.rpartition("/")[2] for exchange in faulty.seen("blobs", "GET")}
        assert len(served) <= 1  # the artifact's config, no shard
    finally:
        subprocess.run(["umount", str(shell.store)], check=True)


def test_a_cache_that_cannot_be_written(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    shell.store.write_text("a file where the store should be")
    assert str(shell.store) in shell.fails(14, "pull", reference)
    assert faulty.seen("blobs", "GET") == []


def test_two_processes_download_once(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.slow(600_000), on="blobs")
    first = shell.start("pull", "--json", reference)
    wait_until("the first process to download", lambda: weights(faulty) > 100_000)
    second = shell.start("pull", "--json", reference)
    wait_until("the second process to ask", lambda: len(faulty.seen("manifests", "GET")) > 1)
    faulty.heal()
    results = []
    for process in (first, second):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (out, err)
        results.append(json.loads(out))
    assert results[0]["path"] == results[1]["path"]
    assert sum(result["origin"] for result in results) == results[0]["size"]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_pull_resumes_without_its_finished_pieces(
    shell: Shell, faulty: FaultyRegistry, reference: str, signum: signal.Signals
) -> None:
    faulty.inject(faults.slow(600_000), on="blobs")
    process = shell.start("pull", reference)
    wait_until("half of the weights", lambda: weights(faulty) > 1_500_000)
    process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    if signum == signal.SIGINT:
        assert process.returncode == 130, err
        assert "Traceback" not in err
    assert out == ""
    faulty.heal()
    result = shell.pull_json(reference)
    assert_right(Path(result["path"]))
    assert result["local"] + result["origin"] == result["size"]
    assert result["local"] > 0


def test_an_origin_that_speaks_no_tls(shell: Shell, faulty: FaultyRegistry) -> None:
    sentence = shell.fails(8, "pull", f"https://{faulty.host}/model.safetensors")
    assert "does not speak" in sentence
    assert f"--plain-http {faulty.host}" in sentence
