"""The laboratory itself: it measures, and nothing of it stays."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netlab import namespaces
from tests.netlab.campaign import campaign
from tests.netlab.figures import MODELDIST
from tests.netlab.rivals.catalogue import RIVALS
from tests.netlab.scenarios import SCENARIOS
from tests.netlab.topology import Topology
from tests.servers.registry import BINARY


@pytest.fixture(scope="module", autouse=True)
def _a_lab_can_run() -> None:
    if why := namespaces.missing():
        pytest.skip(why)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A socket's path has 108 bytes, which a test's own folder takes most of."""
    with tempfile.TemporaryDirectory(prefix="lab-") as path:
        yield Path(path)


@pytest.mark.slow
@pytest.mark.skipif(not any(Path(d, BINARY).exists() for d in os.get_exec_path()), reason=f"{BINARY} is not installed")
def test_three_agents_read_the_origin_once_and_nothing_stays(short_path: Path) -> None:
    said: list[str] = []
    rivals = [RIVALS["TCP chain"]]
    measured = campaign(SCENARIOS["smoke"], runs=1, rivals=rivals, directory=short_path, say=said.append, stream=0.3)
    (ours,) = measured.runs[MODELDIST]
    assert ours.a == 1.0
    assert not ours.wrong
    assert set(ours.finishes) == {"n0", "n1", "n2"}
    assert not measured.runs["TCP chain"][0].wrong
    assert len(said) == 2
    assert namespaces.remaining(os.getpid()) == []
    assert list(short_path.iterdir()) == []


def test_a_lab_that_fails_is_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Topology(SCENARIOS["racks"]):
        assert len(namespaces.remaining(os.getpid())) == 11
        raise KeyboardInterrupt
    assert namespaces.remaining(os.getpid()) == []


def test_what_a_killed_lab_left_is_swept(tmp_path: Path) -> None:
    """Its namespaces, what still ran in them, and its folder; not the folder of one that runs."""
    making = "from pathlib import Path; from tests.netlab import namespaces; import os, sys; "
    making += "print(namespaces.own_folder(Path(sys.argv[1])).name, flush=True); os.kill(os.getpid(), 9)"
    gone = subprocess.Popen([sys.executable, "-c", making, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    folder = gone.communicate()[0].strip()
    (tmp_path / folder / "store").mkdir()
    running = namespaces.own_folder(tmp_path)
    name = f"netlab-{gone.pid}-n0"
    namespaces.run("ip", "netns", "add", name)
    left = subprocess.Popen([*namespaces.inside(name), "sleep", "1000"])
    assert name in namespaces.sweep()
    assert left.wait(timeout=10) == -9
    assert namespaces.remaining(gone.pid) == []
    assert namespaces.sweep_folders(tmp_path) == [folder]
    assert list(tmp_path.iterdir()) == [running]


def test_a_link_is_as_fast_as_it_says() -> None:
    """Shaped in both directions, and what the nodes see is theirs alone."""
    with Topology(SCENARIOS["stragglers"]) as lab:
        shown = namespaces.run(*lab.inside("slow-up"), "tc", "qdisc", "show", "dev", "eth0")
        assert "tbf" in shown
        assert "rate 50Mbit" in shown
        addresses = namespaces.run("ip", "-4", "-o", "address", "show")
        assert lab.address("slow-up") not in addresses
