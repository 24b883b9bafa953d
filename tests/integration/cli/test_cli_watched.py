"""`modeldist pull` with a person in front of the terminal."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.integration.cli.terminal import Terminal
from tests.servers import faults
from tests.servers.cluster import wait_until
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry
from tests.servers.shell import Shell

FILES = {"config.json": b"{}", "model.safetensors": os.urandom(2_000_000), "empty.txt": b""}
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m|\x1b\[9[0-7]m")


@pytest.fixture
def reference(faulty: FaultyRegistry) -> str:
    faulty.add_model("org/model", "v1", FILES)
    return f"{faulty.host}/org/model:v1"


def test_each_shard_is_drawn_and_only_the_path_is_on_stdout(
    shell: Shell, faulty: FaultyRegistry, reference: str
) -> None:
    faulty.inject(faults.slow(1_500_000), on="blobs")
    terminal = Terminal(shell, "pull", reference)
    code, out = terminal.finish()
    assert code == 0, terminal.seen
    (path,) = out.splitlines()
    assert {file.name for file in Path(path).iterdir()} == set(FILES)
    assert "model.safetensors" in terminal.seen
    assert "━" in terminal.seen
    assert COLOUR.search(terminal.seen)
    assert re.search(r"origin [\d.]+ [kM]B", terminal.seen)
    last = terminal.seen.rstrip().splitlines()[-1]
    assert "2.00 MB from the origin, 0 B from peers, 0 B already here" in last
    assert terminal.seen.rfind("\x1b[?25h") > terminal.seen.rfind("\x1b[?25l")  # the cursor is back


def test_no_colour_where_none_is_wanted(shell: Shell, reference: str) -> None:
    terminal = Terminal(shell, "pull", reference, NO_COLOR="1")
    assert terminal.finish()[0] == 0
    assert "already here" in terminal.seen
    assert not COLOUR.search(terminal.seen)


@pytest.mark.parametrize("arguments", [["--quiet"], []], ids=["quiet", "dumb terminal"])
def test_nothing_is_said_where_nobody_listens(shell: Shell, reference: str, arguments: list[str]) -> None:
    terminal = Terminal(shell, "pull", reference, *arguments, **({} if arguments else {"TERM": "dumb"}))
    code, out = terminal.finish()
    assert (code, terminal.seen) == (0, "")
    assert out.count("\n") == 1


def test_a_second_pull_says_that_it_was_here(shell: Shell, reference: str) -> None:
    path = shell.pull(reference)
    terminal = Terminal(shell, "pull", reference)
    assert terminal.finish() == (0, f"{path}\n")
    assert "2.00 MB already here" in terminal.seen


def test_json_is_for_people_on_a_terminal_too(shell: Shell, reference: str) -> None:
    shell.pull(reference)
    terminal = Terminal(shell, "pull", "--json", reference)
    code, out = terminal.finish()
    assert code == 0
    assert '"state":"done"' in out


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopping_once_or_twice_keeps_what_arrived(
    shell: Shell, faulty: FaultyRegistry, reference: str, signum: signal.Signals, times: int
) -> None:
    faulty.inject(faults.slow(300_000), on="blobs")
    terminal = Terminal(shell, "pull", reference)
    wait_until("bytes to arrive", lambda: sum(each.sent for each in faulty.seen("blobs", "GET")) > 300_000)
    for _ in range(times):
        terminal.process.send_signal(signum)
    code, out = terminal.finish()
    assert (code, out) == (130, ""), terminal.seen
    assert "stopped" in terminal.seen.lower()
    assert "pull again to resume" in terminal.seen
    assert "Traceback" not in terminal.seen
    assert terminal.seen.rfind("\x1b[?25h") > terminal.seen.rfind("\x1b[?25l")
    faulty.heal()
    assert (shell.pull(reference) / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_failure_is_the_last_line(shell: Shell, faulty: FaultyRegistry, reference: str) -> None:
    faulty.inject(faults.forbidden(), on="blobs")
    terminal = Terminal(shell, "pull", reference)
    code, out = terminal.finish()
    assert (code, out) == (6, "")
    assert terminal.seen.rstrip().splitlines()[-1].rpartition("\x1b[2K")[2].startswith("modeldist: ")


def test_a_terminal_asks_for_the_password(shell: Shell, faulty: FaultyRegistry) -> None:
    terminal = Terminal(shell, "login", faulty.host, "-u", "somebody")
    wait_until("the question", lambda: "Password of somebody" in terminal.seen)
    os.write(terminal.keyboard, b"secret\n")
    code, out = terminal.finish()
    assert (code, out) == (0, ""), terminal.seen
    assert f"Logged in to {faulty.host}" in terminal.seen
    assert "secret" not in terminal.seen


def test_a_push_is_drawn_too(shell: Shell, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name, data in FILES.items():
        (model / name).write_bytes(data)
    with Registry(tmp_path / "registry") as registry:
        reference = f"{registry.host}/org/model:v1"
        built = Terminal(shell, "build", str(model), "-t", reference)
        code, pinned = built.finish()
        assert code == 0, built.seen
        assert "model.safetensors  2.00 MB" in built.seen
        pushed = Terminal(shell, "push", reference)
        assert pushed.finish() == (0, pinned), pushed.seen
        assert "━" in pushed.seen
        assert pushed.seen.rstrip().endswith("0 B already there")
        again = Terminal(shell, "push", reference)
        assert again.finish() == (0, pinned)
        # How many chunks the content is cut into, and so how large its index is, is chance.
        assert re.search(r"0 B sent, 2\.0\d MB already there", again.seen), again.seen
