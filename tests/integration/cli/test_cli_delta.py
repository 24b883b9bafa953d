"""A new version of a model in a real registry, pulled where an older one is: by the bytes that the registry served."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelpack.chunk_index import parse_index
from modelpack.digests import sha256_digest
from modelpack.layout import OciLayout
from tests.servers import faults
from tests.servers.cluster import Cluster, finish, wait_until
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry
from tests.servers.shell import Shell

NAME = "model.safetensors"
LAYERS = 40


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {f"layers.{layer}.weight": rng.integers(0, 2**16, (256, 640), np.uint16) for layer in range(LAYERS)}


def fine_tuned(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Two of forty layers are others: a twentieth of the bytes."""
    changed = {name: tensors[name] ^ 0x0101 for name in ("layers.11.weight", "layers.29.weight")}
    return {**tensors, **changed}


def write(folder: Path, tensors: dict[str, np.ndarray], **metadata: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / NAME, metadata or None)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "of": folder.name}))
    return folder


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """v2 has a longer header too, by which everything after it lies elsewhere."""
    home, first = tmp_path_factory.mktemp("versions"), tensors()
    return {
        "v1": write(home / "v1", first),
        "v2": write(home / "v2", fine_tuned(first), trained="on other texts, " * 20),
    }


def publish(publisher: Shell, host: str, versions: dict[str, Path], *flags: str) -> None:
    for tag, folder in versions.items():
        for command in (
            ("build", str(folder), "-t", f"{host}/org/model:{tag}", *flags),
            ("push", f"{host}/org/model:{tag}"),
        ):
            done = publisher.run(*command)
            assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, versions: dict[str, Path]) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        publish(Shell(tmp_path_factory.mktemp("publisher")), registry.host, versions)
        yield registry


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def assert_same(path: str | Path, folder: Path) -> None:
    for file in folder.iterdir():
        assert (Path(path) / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_version_with_a_twentieth_changed_moves_less_than_a_twelfth(
    shell: Shell, registry: Registry, versions: dict[str, Path]
) -> None:
    """Everything that is read for it: manifest and config, chunk table and index, and what changed."""
    model = f"{registry.host}/org/model"
    shell.pull(f"{model}:v1")
    registry.clear_log()
    done = shell.pull_json(f"{model}:v2")
    served = registry.blob_bytes()
    assert_same(done["path"], versions["v2"])
    size = size_of(versions["v2"])
    assert served <= 0.08 * size
    assert done["origin"] + done["index"] <= served
    assert done["origin"] + done["local"] == done["size"] == size
    assert 0.92 * size < done["reused"] <= done["local"]
    (row,) = (shard for shard in done["shards"] if shard["path"] == NAME)
    assert row["reused"] == row["local"] == row["size"] - row["origin"]
    told = shell.run("why", f"{model}:v2").stdout
    assert "of it from other versions" in told
    assert "read to find what other versions have" in told


def test_nodes_of_a_swarm_read_what_changed_once(tmp_path: Path, registry: Registry, versions: dict[str, Path]) -> None:
    model = f"{registry.host}/org/model"
    with Cluster(tmp_path / "cluster", 2) as cluster:
        for pull in [cluster.pull(node, f"{model}:v1") for node in range(2)]:
            finish(pull)
        registry.clear_log()
        ends = [finish(pull) for pull in [cluster.pull(node, f"{model}:v2") for node in range(2)]]
        assert registry.blob_bytes() <= 0.08 * size_of(versions["v2"])
        for done in ends:
            assert_same(done["path"], versions["v2"])
            assert done["origin"] + done["peers"] + done["local"] == done["size"]
        assert sum(done["peers"] for done in ends) > 0
        status = cluster.run(0, "status").stdout
        assert "FROM" in status and "here " in status


def test_a_pull_that_was_killed_goes_on(
    tmp_path: Path, shell: Shell, faulty: FaultyRegistry, versions: dict[str, Path]
) -> None:
    """Killed while what changed arrives, when what is here was taken over: that is not claimed without being proven."""
    publish(Shell(tmp_path / "publisher"), faulty.host, versions)
    reference = f"{faulty.host}/org/model:v2"
    shell.pull(f"{faulty.host}/org/model:v1")
    blob = sha256_digest((versions["v2"] / NAME).read_bytes())
    faulty.inject(faults.slow(50_000), on=blob, method="GET")
    process = shell.start("pull", "--json", reference)
    journal = shell.store / "partial" / blob.replace(":", "-") / "journal"
    wait_until("pieces that were here", lambda: journal.exists() and journal.stat().st_size > 30 * 36)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    faulty.heal()
    before = sum(asked.sent for asked in faulty.requests)
    done = shell.pull_json(reference)
    assert_same(done["path"], versions["v2"])
    assert sum(asked.sent for asked in faulty.requests) - before <= 0.08 * size_of(versions["v2"])


def test_a_copy_has_the_index_too(tmp_path: Path, shell: Shell, registry: Registry, versions: dict[str, Path]) -> None:
    model, copy = f"{registry.host}/org/model", f"{registry.host}/copies/model"
    for tag in versions:
        assert shell.run("copy", f"{model}:{tag}", f"{copy}:{tag}").returncode == 0
    extra = tmp_path / "NOTES.md"
    extra.write_text("# Notes\n")
    attached = shell.run("attach", str(extra), "-s", f"{copy}:v2", "-t", f"{copy}:v3", "--output-remote")
    assert attached.returncode == 0, attached.stderr
    node = Shell(tmp_path / "node")
    node.pull(f"{copy}:v1")
    registry.clear_log()
    done = node.pull_json(f"{copy}:v3")
    assert registry.blob_bytes() <= 0.08 * size_of(versions["v2"])
    assert_same(done["path"], versions["v2"])


def test_a_build_can_leave_the_index_out(tmp_path: Path, shell: Shell, versions: dict[str, Path]) -> None:
    for name, flags in (("with", ()), ("without", ("--no-chunk-index",))):
        done = shell.run("build", str(versions["v1"]), "-o", str(tmp_path / name), *flags)
        assert done.returncode == 0, done.stderr
    for name, there in (("with", True), ("without", False)):
        layout = OciLayout.open(tmp_path / name)
        manifest = layout.manifest()[1]
        table = layout.chunk_table(manifest)
        assert table is not None and (table.index is not None) is there
        if table.index is not None:
            raw = layout.blobs.path_of(table.index.digest).read_bytes()
            assert len(raw) == table.index.size
            assert [blob.size for blob in parse_index(raw).blobs] == [(versions["v1"] / NAME).stat().st_size]
            (about,) = layout.referrers(layout.resolve().digest)
            kept = layout.digests_below((about,))
            assert table.index.digest in kept
