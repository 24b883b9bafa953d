"""Device discovery against a tree shaped like the kernel's /sys/class/infiniband."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from rdma import discover
from rdma.__main__ import describe, main

GID_V4 = "0000:0000:0000:0000:0000:ffff:0a00:0007"
GID_LOCAL = "fe80:0000:0000:0000:5054:00ff:fe12:3456"
UNSET = "0000:0000:0000:0000:0000:0000:0000:0000"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")


def _device(sysfs: Path, name: str, *, state: str = "4: ACTIVE", gids: tuple[str, ...] = (GID_LOCAL, GID_V4)) -> None:
    port = sysfs / name / "ports" / "1"
    _write(sysfs / name / "device" / "numa_node", "1")
    _write(port / "state", state)
    _write(port / "link_layer", "Ethernet")
    _write(port / "rate", "100 Gb/sec (4X EDR)")
    for index, gid in enumerate(gids):
        _write(port / "gids" / str(index), gid)
        if gid != UNSET:
            _write(port / "gid_attrs" / "types" / str(index), "RoCE v2")
            _write(port / "gid_attrs" / "ndevs" / str(index), "eth1")


def test_no_rdma_subsystem_is_no_device(tmp_path: Path) -> None:
    assert discover(tmp_path / "absent") == ()


def test_a_roce_device_with_its_port_and_gids(tmp_path: Path) -> None:
    _device(tmp_path, "mlx5_0", gids=(GID_LOCAL, GID_V4, UNSET))
    (device,) = discover(tmp_path)
    (port,) = device.ports
    assert (device.name, device.numa_node, device.problem) == ("mlx5_0", 1, "")
    assert (port.state, port.link_layer, port.rate) == ("ACTIVE", "Ethernet", 12.5e9)
    assert [gid.index for gid in port.gids] == [0, 1]


def test_the_gid_is_chosen_by_the_address_in_use_not_by_its_index(tmp_path: Path) -> None:
    _device(tmp_path, "mlx5_0")
    port = discover(tmp_path)[0].ports[0]
    chosen = port.gid_for(ipaddress.ip_address("10.0.0.7"))
    assert chosen is not None
    assert chosen.index == 1
    assert port.gid_for(ipaddress.ip_address("10.0.0.8")) is None


def test_what_keeps_a_device_from_being_used_is_said(tmp_path: Path) -> None:
    _device(tmp_path, "down", state="1: DOWN")
    _device(tmp_path, "bare", gids=(UNSET,))
    (tmp_path / "portless").mkdir()
    problems = {device.name: device.problem for device in discover(tmp_path)}
    assert "port 1 is DOWN" in problems["down"]
    assert "GID table is empty" in problems["bare"]
    assert "no ports" in problems["portless"]


def test_the_probe_describes_each_device(tmp_path: Path) -> None:
    _device(tmp_path, "mlx5_0")
    text = "\n".join(describe(discover(tmp_path)[0]))
    assert "mlx5_0  NUMA node 1  usable" in text
    assert "100 Gb/s" in text
    assert "GID 1  10.0.0.7  RoCE v2  eth1" in text


def test_the_probe_command_runs_on_any_machine() -> None:
    assert main(["probe"]) == 0


@pytest.mark.parametrize("option", ["--size", "--repeat"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_bench_wants_numbers_it_can_use(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "mlx5_0", "mlx5_1", f"{option}={value}"])
    assert f"argument {option}: {value} is no whole number from 1 on" in capsys.readouterr().err
