"""`modeldist pull --exec`: the program takes the process over, with the model in its environment and its words."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.cluster import MODELDIST
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

FILES = {"config.json": b"{}", "model.safetensors": b"w" * 100_000}
TELL = "import json, os, sys; print(json.dumps([os.getpid(), sys.argv[1:], dict(os.environ)]))"
WAIT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def reference(faulty: FaultyRegistry) -> str:
    faulty.add_model("org/model", "v1", FILES)
    return f"{faulty.host}/org/model:v1"


def test_the_program_is_this_process_and_knows_the_model(shell: Shell, reference: str) -> None:
    for first in (True, False):  # pulled by an engine; here already
        started = shell.start("pull", reference, "--exec", sys.executable, "-c", TELL, "{}", "--a={}/b", '{"c": {}}')
        out, err = started.communicate(timeout=110)
        assert started.returncode == 0, err
        process, words, environment = json.loads(out)
        assert process == started.pid, first
        model = environment["MODELDIST_MODEL"]
        assert words == [model, f"--a={model}/b", '{"c": {}}']
        assert {path.name: path.read_bytes() for path in Path(model).iterdir()} == FILES
        assert environment["HF_HUB_CACHE"] == str(shell.store / "hub")
        assert "HF_HUB_OFFLINE" not in environment
    done = shell.run("pull", "--offline", reference, "--exec", sys.executable, "-c", TELL)
    assert json.loads(done.stdout)[2]["HF_HUB_OFFLINE"] == "1"


def test_it_ends_as_the_program_ends(shell: Shell, reference: str) -> None:
    assert shell.run("pull", reference, "--exec", "sh", "-c", "exit 41").returncode == 41
    assert shell.run("pull", reference, "--exec", "sh", "-c", "kill -KILL $$").returncode == -signal.SIGKILL


def test_signals_are_the_programs(shell: Shell, reference: str) -> None:
    started = shell.start("pull", reference, "--exec", sys.executable, "-c", WAIT)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=110)
    assert started.returncode == 7


@pytest.mark.parametrize("ignored", ["", "HUP INT"])  # not TERM, which coverage handles where it measures
def test_the_program_starts_as_if_it_had_been_started_here(shell: Shell, reference: str, ignored: str) -> None:
    """Same ignored signals and open files as without us, but the model's lease: Python ignores SIGPIPE, which would
    end `yes | head` badly."""
    look = "grep -E '^Sig(Blk|Ign)' /proc/self/status; find /proc/self/fd ! -lname '*/live/lease-*' | wc -l; cat"
    trap = f"trap '' {ignored}; " if ignored else ""

    def seen(*through: str) -> str:
        return subprocess.run(
            ["sh", "-c", f'{trap}exec "$@"', "sh", *through, "sh", "-c", look],
            env=shell.environment,
            input="asked\n",
            capture_output=True,
            text=True,
            check=True,
            timeout=110,
            restore_signals=True,
        ).stdout

    assert seen(*MODELDIST, "pull", reference, "--exec") == seen("env")


def test_a_failed_pull_starts_nothing(shell: Shell, reference: str, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    said = shell.fails(4, "pull", reference.replace("v1", "v2"), "--exec", "touch", str(mark))
    assert "v2" in said
    assert not mark.exists()


def test_a_program_that_cannot_be_run_is_found_before_the_pull(
    shell: Shell, faulty: FaultyRegistry, reference: str, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert "no-such-program" in shell.fails(127, "pull", reference, "--exec", "no-such-program", "{}")
    assert str(plain) in shell.fails(126, "pull", reference, "--exec", str(plain))
    assert faulty.seen() == []
    assert "nothing/here" in shell.fails(127, "pull", reference, "--exec", "{}/nothing/here")
    plain.write_text("no program\n")
    plain.chmod(0o755)
    assert "cannot be run" in shell.fails(126, "pull", reference, "--exec", str(plain))


def test_standard_output_is_the_programs(shell: Shell, reference: str) -> None:
    assert "cannot be used together" in shell.run("pull", "--json", reference, "--exec", "true").stderr
    done = shell.run("pull", "--verbose", reference, "--exec", "echo", "served")
    assert done.stdout == "served\n"
    assert "modeldist" in done.stderr or reference in done.stderr
