"""A command that is kept running, and one that cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from modeldist.ray.kept_process import KeptProcess
from tests.servers.cluster import wait_until


def test_what_ends_at_once_is_hopeless_and_says_why(tmp_path: Path) -> None:
    kept = KeptProcess(["no-such-command"], os.environ, tmp_path / "to come" / "log")
    wait_until("two failures", lambda: kept.hopeless, seconds=90)
    kept.stop()
    assert "no-such-command" in kept.last_words()
    assert not kept.running


def test_what_cannot_be_run_at_all_says_why(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    kept = KeptProcess(["version"], os.environ, tmp_path / "log")
    wait_until("two failures", lambda: kept.hopeless, seconds=90)
    kept.stop()
    assert "cannot be run" in kept.last_words()


def test_what_is_not_needed_does_not_run(tmp_path: Path) -> None:
    kept = KeptProcess(["no-such-command"], os.environ, tmp_path / "log", needed=lambda: False)
    kept.stop()
    assert not (tmp_path / "log").exists()
    assert not kept.failures


def test_it_ends_with_who_started_it(tmp_path: Path) -> None:
    words = ["server", "--port", "0", "--state-dir", str(tmp_path / "state")]
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "modeldist.ray.tied", *words], stdin=subprocess.PIPE, stdout=out, stderr=out
        )
    assert process.stdin is not None
    with process.stdin:
        wait_until("it to listen", lambda: b"listening" in log.read_bytes() or process.poll() is not None, seconds=90)
    assert process.wait(90) == 0, log.read_text()
    assert "stopped" in log.read_text()
