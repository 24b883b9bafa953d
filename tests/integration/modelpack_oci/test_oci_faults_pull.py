"""Whole models from a registry that fails: what was finished stays, what is wrong is not kept."""

from __future__ import annotations

import asyncio
import fcntl
import json
from pathlib import Path

import pytest

from modelpack.errors import (
    DigestMismatch,
    RegistryError,
)
from modelpack.layout import OciLayout
from modelpack.oci import Progress, RegistryClient, pull_layout, push
from tests.integration.modelpack_oci.conftest import digest_of, layout_of, reference
from tests.servers import faults
from tests.servers.oci_faults import FaultyRegistry


async def test_a_registry_that_dies_in_the_middle_of_a_pull(
    faulty: FaultyRegistry, client: RegistryClient, files: dict[str, bytes], tmp_path: Path
) -> None:
    digest = faulty.add_model("org/model", "v1", files)
    weight = digest_of(files["model.safetensors"])
    faulty.inject(faults.dies(300_000), on=weight)
    layout = OciLayout.create(tmp_path / "in")
    with pytest.raises(RegistryError, match=f"{faulty.host} .*{weight}|{faulty.host} cannot be reached"):
        await pull_layout(reference(faulty), layout, client, parallel=1)
    assert layout.refs() == {}
    faulty.restart()
    before = faulty.blob_bytes()
    steps: list[Progress] = []
    assert (await pull_layout(reference(faulty), layout, client, steps.append)).digest == digest
    layout.verify()
    again = faulty.seen(weight)[-1]
    assert again.range == "bytes=300000-699999"
    assert faulty.blob_bytes() - before < 700_000 - 300_000 + 1000
    assert {path.name for path in (layout.path / "blobs" / "sha256").iterdir()} == {
        blob.partition(":")[2] for blob in (*faulty.blobs, digest)
    }
    assert await pull_layout(reference(faulty), layout, client, steps.append) is not None


async def test_a_damaged_beginning_is_fetched_again(
    faulty: FaultyRegistry, client: RegistryClient, files: dict[str, bytes], tmp_path: Path
) -> None:
    faulty.add_model("org/model", "v1", files)
    layout = OciLayout.create(tmp_path / "in")
    place = layout.blobs.path_of(digest_of(files["model.safetensors"]))
    for damaged in (b"x" * 1000, b"x" * 900_000):
        place.unlink(missing_ok=True)
        place.with_name(f".partial-{place.name}").write_bytes(damaged)
        steps: list[Progress] = []
        await pull_layout(reference(faulty), layout, client, steps.append)
        layout.verify()
        moved = [step.done for step in steps if step.descriptor.size == 700_000]
        assert sum(moved) == 700_000


async def test_a_blob_that_stays_wrong_is_not_kept(
    faulty: FaultyRegistry, client: RegistryClient, files: dict[str, bytes], tmp_path: Path
) -> None:
    faulty.add_model("org/model", "v1", files)
    weight = digest_of(files["model.safetensors"])
    faulty.inject(faults.corrupted(5), on=weight)
    layout = OciLayout.create(tmp_path / "in")
    with pytest.raises(DigestMismatch, match=f"The blob {weight} of .*org/model:v1 has the digest sha256:"):
        await pull_layout(reference(faulty), layout, client)
    assert weight.partition(":")[2] not in "".join(path.name for path in (tmp_path / "in").rglob("*"))


async def test_two_pulls_into_one_layout_fetch_once(
    faulty: FaultyRegistry, client: RegistryClient, files: dict[str, bytes], tmp_path: Path
) -> None:
    digest = faulty.add_model("org/model", "v1", files)
    hold = faults.Hold(100_000)
    faulty.inject(faults.held(hold), on=digest_of(files["model.safetensors"]))
    layout = OciLayout.create(tmp_path / "in")
    first = asyncio.create_task(pull_layout(reference(faulty), layout, client))
    await asyncio.to_thread(hold.reached.wait, 10)
    second = asyncio.create_task(pull_layout(reference(faulty), layout, client))
    asyncio.get_running_loop().call_later(0.3, hold.resume.set)
    assert [(await task).digest for task in (first, second)] == [digest, digest]
    assert len(faulty.seen(digest_of(files["model.safetensors"]))) == 1
    assert not list((tmp_path / "in").rglob(".partial-*"))


async def test_the_model_inside_an_index(
    faulty: FaultyRegistry, client: RegistryClient, files: dict[str, bytes], tmp_path: Path
) -> None:
    out, model = layout_of(tmp_path / "out", files)
    entry = {
        "mediaType": model.media_type,
        "digest": model.digest,
        "size": model.size,
        "artifactType": model.artifact_type,
    }
    kind = "application/vnd.oci.image.index.v1+json"
    raw = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}).encode()
    index = out.add_manifest(raw, "index")
    assert await push(out, "index", reference(faulty, "all"), client) == index.digest
    layout = OciLayout.create(tmp_path / "in")
    assert (await pull_layout(reference(faulty, "all"), layout, client)).digest == model.digest
    layout.verify()


async def test_indexes_nested_without_end(faulty: FaultyRegistry, client: RegistryClient, tmp_path: Path) -> None:
    layout, model = layout_of(tmp_path / "out", {"a": b"x"})
    kind, entry = "application/vnd.oci.image.index.v1+json", model
    for level in range(6):
        child = {
            "mediaType": entry.media_type,
            "digest": entry.digest,
            "size": entry.size,
            "artifactType": model.artifact_type,
        }
        raw = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [child]}).encode()
        entry = layout.add_manifest(raw, f"deep{level}")
        faulty.add_manifest("org/model", f"deep{level}", raw, kind)
    with pytest.raises(Exception, match="nested too deeply"):
        await push(layout, "deep5", reference(faulty), client)
    with pytest.raises(Exception, match="nested too deeply"):
        await pull_layout(reference(faulty, "deep5"), OciLayout.create(tmp_path / "in"), client)


@pytest.mark.parametrize("fate", ["finished", "dropped"])
async def test_a_blob_that_another_process_was_fetching(
    fate: str, faulty: FaultyRegistry, client: RegistryClient, files: dict[str, bytes], tmp_path: Path
) -> None:
    """The other process holds the partial file; it finishes the blob, or finds it damaged and drops the file."""
    digest = faulty.add_model("org/model", "v1", files)
    weight = digest_of(files["model.safetensors"])
    layout = OciLayout.create(tmp_path / "in")
    final = layout.blobs.path_of(weight)
    partial = final.with_name(f".partial-{final.name}")
    others_done = asyncio.Event()

    def tell(step: Progress) -> None:
        if step.descriptor.digest == digest_of(b""):
            others_done.set()

    with partial.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        pull = asyncio.create_task(pull_layout(reference(faulty), layout, client, tell))
        await asyncio.wait_for(others_done.wait(), 10)  # the pull waits for the lock meanwhile
        other.write(files["model.safetensors"])
        other.flush()
        if fate == "finished":
            partial.rename(final)
        else:
            partial.unlink()
    assert (await pull).digest == digest
    layout.verify()
    assert len(faulty.seen(weight)) == (0 if fate == "finished" else 1)
    assert not list((tmp_path / "in").rglob(".partial-*"))
