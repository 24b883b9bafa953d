"""Memory is kept at hand where a host takes back what is free, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeldist.bench.memory import host_takes_back, kept_at_hand

_BALLOON, _DISK = "0x0005\n", "0x0002\n"
_STATISTICS_ONLY, _REPORTS_FREE_PAGES = "0110000000000000\n", "0110010000000000\n"


def device(devices: Path, name: str, kind: str, features: str) -> None:
    (devices / name).mkdir()
    (devices / name / "device").write_text(kind)
    (devices / name / "features").write_text(features)


@pytest.mark.parametrize(
    ("kind", "features", "takes_back"),
    [(_BALLOON, _REPORTS_FREE_PAGES, True), (_BALLOON, _STATISTICS_ONLY, False), (_DISK, _REPORTS_FREE_PAGES, False)],
)
def test_a_host_takes_back_what_a_balloon_reports(
    tmp_path: Path, kind: str, features: str, *, takes_back: bool
) -> None:
    device(tmp_path, "virtio0", _DISK, _STATISTICS_ONLY)
    device(tmp_path, "virtio1", kind, features)
    assert host_takes_back(tmp_path) == takes_back


def test_a_machine_without_such_devices_keeps_its_memory(tmp_path: Path) -> None:
    assert not host_takes_back(tmp_path / "none")
    (tmp_path / "virtio0").mkdir()
    assert not host_takes_back(tmp_path)
    with kept_at_hand(1 << 20, tmp_path) as keep:
        keep()


def test_memory_is_kept_again_before_each_run(tmp_path: Path) -> None:
    device(tmp_path, "virtio0", _BALLOON, _REPORTS_FREE_PAGES)
    with kept_at_hand(1 << 20, tmp_path) as keep:
        keep()
        keep()
