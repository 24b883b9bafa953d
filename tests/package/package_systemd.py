"""docs/deploy.md's commands of root, on a machine with systemd's programs and no systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.package.conftest import ROOT, lay_out

ALONE = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
lacks = os.geteuid() != 0 or not all(map(shutil.which, ("systemd-analyze", "systemd-sysusers", "ip")))


@pytest.mark.skipif(lacks, reason="root, systemd-analyze, systemd-sysusers and ip are needed")
def test_root_installs_both_and_they_are_ready(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    lay_out(room)
    done = subprocess.run(
        [*ALONE, sys.executable, "-m", "tests.package.systemd_machine", str(room)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
