"""A model with a chunk table from a real registry and from a layout: a wrong byte is named with its chunk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.cluster import Cluster
from tests.servers.registry import Registry
from tests.servers.shell import Shell
from tests.servers.signed_models import WEIGHTS, SignedModel

CHUNK = 256 * 1024


@pytest.fixture
def model(tmp_path: Path, registry: Registry) -> SignedModel:
    return SignedModel(tmp_path, registry)


def damaged(model: SignedModel) -> bytes:
    """The weights with one byte changed, in the second chunk."""
    data = bytearray(model.files[WEIGHTS])
    data[CHUNK + 5] ^= 1
    return bytes(data)


def test_a_wrong_byte_from_a_registry(shell: Shell, model: SignedModel) -> None:
    model.replace_blob(model.weights.digest, damaged(model))
    said = shell.fails(10, "pull", model.reference)
    assert f"{WEIGHTS} of {model.ref.name}: bytes {CHUNK} to {2 * CHUNK} that the origin sent" in said
    model.replace_blob(model.weights.digest, model.files[WEIGHTS])
    assert (shell.pull(model.reference) / WEIGHTS).read_bytes() == model.files[WEIGHTS]


def test_a_wrong_byte_in_a_layout(shell: Shell, model: SignedModel) -> None:
    path = model.layout.blobs.path_of(model.weights.digest)
    path.write_bytes(damaged(model))
    said = shell.fails(10, "pull", f"oci-layout:{model.layout.path}:v1")
    assert f"bytes {CHUNK} to {2 * CHUNK} that the origin sent" in said


@pytest.mark.slow
def test_a_control_plane_that_starts_again_still_has_the_table(model: SignedModel, tmp_path: Path) -> None:
    """It remembers the artifact with it: the registry may even have lost the blob."""
    with Cluster(tmp_path / "cluster", 2) as cluster:
        assert cluster.run(0, "pull", model.reference).returncode == 0
        cluster.server.kill()
        named = model.manifest.annotations["org.modeldist.chunk-table"].partition(":")[2]
        links = f"docker/registry/v2/repositories/{model.repository}/_layers/sha256/{named}/link"
        for link in model.registry.storage.glob(links):
            link.unlink()
        cluster.start_server()
        cluster.wait_joined(1)
        cluster.agents[0].kill()  # so that the other one reads from the origin
        model.replace_blob(model.weights.digest, damaged(model))
        done = cluster.run(1, "pull", model.reference)
        assert done.returncode == 10, done.stderr
        assert f"bytes {CHUNK} to {2 * CHUNK} that the origin sent" in " ".join(done.stderr.split())
