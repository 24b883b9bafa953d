"""Where what a command writes to is full, read-only or broken: it says so, and leaves nothing half done there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist.agent.identity import NodeIdentity
from modeldist.errors import NotEnoughSpace
from tests.chaos.matrix.disks import Disk
from tests.netlab.namespaces import LabError, run
from tests.servers import faults
from tests.servers.cluster import wait_until
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

_MODEL = "registry.example/org/model:v1"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    try:
        disk = Disk(tmp_path / "disk.img", tmp_path / "disk", 24 << 20)
    except LabError as why:
        pytest.skip(f"needs loop devices and the right to mount: {why}")
    yield disk
    disk.unmount()


def test_no_half_of_a_key_on_a_full_disk(disk: Disk, shell: Shell) -> None:
    disk.fill()
    said = shell.fails(13, "keygen", str(disk.path / "release"))
    assert "disk/release.key: No space left on device. Free some space" in said
    disk.empty()
    assert shell.run("keygen", str(disk.path / "release")).returncode == 0


def test_a_built_model_does_not_fit_where_it_is_extracted_to(disk: Disk, shell: Shell, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "weights.bin").write_bytes(os.urandom(30 << 20))
    assert shell.run("build", str(model), "-t", _MODEL).returncode == 0
    said = shell.fails(13, "extract", _MODEL, "-o", str(disk.path / "out"))
    assert f"{disk.path / 'out'}: No space left on device. Free some space" in said
    assert [path.name for path in disk.path.iterdir()] == ["lost+found"]


def test_a_layout_on_a_broken_disk_is_not_said_to_be_none(disk: Disk, shell: Shell, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    layout = f"oci-layout:{disk.path / 'layout'}:v1"
    assert shell.run("build", str(model), "-o", str(disk.path / "layout"), "-t", "v1").returncode == 0
    disk.cut_off()
    said = shell.fails(12, "inspect", layout)
    assert "oci-layout: Input/output error. Check the path and the disk under it." in said
    assert "cannot be opened: Input/output error" in shell.fails(8, "pull", layout)


def test_a_control_plane_whose_directory_is_on_a_disk_that_takes_nothing(disk: Disk, shell: Shell) -> None:
    state = disk.path / "state"
    start = ("server", "--state-dir", str(state), "--port", "0")
    disk.fill()
    said = shell.fails(13, *start)
    assert f"The state directory {state} cannot be used: No space left on device. Free some space" in said
    disk.empty()
    state.mkdir()
    run("mount", "-o", "remount,ro", str(disk.path))
    assert "Give its user write access" in shell.fails(14, *start)
    run("mount", "-o", "remount,rw", str(disk.path))
    disk.cut_off()
    assert "server.lock: Input/output error. Check the disk under it, or correct --state-dir." in shell.fails(
        12, *start
    )


def test_an_identity_that_does_not_fit(disk: Disk) -> None:
    disk.fill()
    with pytest.raises(NotEnoughSpace, match="No space left") as failed:
        NodeIdentity(disk.path).keep(bytes(8192), b"", b"")
    assert failed.value.remedy.endswith("Then revoke the node and enrol it again.")


def test_a_pull_that_cannot_be_finished_ends_and_keeps_what_came(shell: Shell, faulty: FaultyRegistry) -> None:
    """What keeps the collector away cannot be opened, as where a process has too many files open."""
    files = {"model.safetensors": os.urandom(4_000_000)}
    faulty.add_model("org/model", "v1", files)
    faulty.inject(faults.slow(3_000_000), on="/blobs/")
    reference = f"{faulty.host}/org/model:v1"
    pull = shell.start("pull", reference)
    wait_until("the first piece", lambda: any((shell.store / "partial").glob("*/journal")))
    gate = shell.store / "live" / "gate"
    gate.unlink()
    gate.mkdir()
    said = " ".join(pull.communicate(timeout=60)[1].split())
    assert pull.returncode == 14, said
    assert f"Cannot finish a shard at {shell.store}" in said
    assert f"{gate} is in the way" in said
    gate.rmdir()
    again = shell.pull_json(reference)
    assert (again["local"], again["origin"]) == (4_000_000, 0)
    assert (Path(again["path"]) / "model.safetensors").read_bytes() == files["model.safetensors"]
