"""A disk of one's own takes no room from the disk under it but its own, and that is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.matrix.disks import Disk
from tests.chaos.matrix.room import NoRoom, Room, available, demand
from tests.netlab.namespaces import LabError, run
from tests.servers.cluster import wait_until

_SIZE = 64 << 20


@pytest.fixture
def new_disk(tmp_path: Path) -> Iterator[Callable[[str, bool], Disk]]:
    with ExitStack() as mounted:

        def made(name: str, whole: bool) -> Disk:
            try:
                disk = Disk(tmp_path / f"{name}.img", tmp_path / name, _SIZE, whole=whole)
            except LabError as why:
                pytest.skip(f"needs loop devices and the right to mount: {why}")
            mounted.callback(disk.unmount)
            return disk

        yield made


@pytest.fixture
def disk(new_disk: Callable[[str, bool], Disk]) -> Disk:
    return new_disk("disk", False)


def test_filled_and_emptied(disk: Disk) -> None:
    before = available(disk.path)
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        (disk.path / "more").write_bytes(bytes(16 << 10))
    disk.empty()
    assert available(disk.path) >= before - (16 << 10)
    disk.empty()  # it is empty already


@pytest.mark.parametrize("order", [Disk.fill, Disk.empty, Disk.freeze, Disk.cut_off])
def test_what_lies_under_a_disk_that_is_not_mounted_is_left_alone(disk: Disk, order: Callable[[Disk], None]) -> None:
    disk.unmount()
    (disk.path / "filler").write_bytes(b"of the host")
    with pytest.raises(OSError, match=f"{disk.image} is not mounted at {disk.path}: another disk is there"):
        order(disk)
    assert (disk.path / "filler").read_bytes() == b"of the host"
    assert [file.name for file in disk.path.iterdir()] == ["filler"]


def test_another_image_in_its_place_is_left_alone(disk: Disk, new_disk: Callable[[str, bool], Disk]) -> None:
    there = new_disk("there", False)
    there.unmount()
    disk.unmount()
    run("mount", "-o", "loop", str(there.image), str(disk.path))
    with pytest.raises(OSError, match=f"not mounted at {disk.path}: {there.image} is there"):
        disk.fill()


def test_a_whole_disk_has_its_room_from_the_beginning(new_disk: Callable[[str, bool], Disk]) -> None:
    whole, sparse = new_disk("whole", True), new_disk("sparse", False)
    assert whole.image.stat().st_blocks * 512 >= _SIZE > sparse.image.stat().st_blocks * 512


def test_a_disk_that_was_full_for_a_moment_is_remembered(disk: Disk) -> None:
    with Room(disk.path) as room:
        assert not room.was_full
        disk.fill()
        wait_until("it to be seen", lambda: room.least < 1 << 20)
        disk.empty()
        assert room.was_full
        assert str(room).endswith("0.00 GB at the least during this")
        room.begin()
        assert not room.was_full


def test_nothing_begins_without_room(disk: Disk) -> None:
    demand(disk.path, _SIZE // 2)
    with pytest.raises(NoRoom, match=r"10\.00 GB of room are needed in .*, and 0\.0\d GB are available"):
        demand(disk.path, 10**10)
