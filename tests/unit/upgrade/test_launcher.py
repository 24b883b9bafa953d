"""The launcher with real processes: versions that come up, crash, hang, go back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from errno import ENOSPC
from os import strerror
from pathlib import Path

import pytest

from modeldist import __version__
from modeldist.upgrade import launcher
from modeldist.upgrade.launcher import Launcher
from modeldist.upgrade.versions import OWN, RESTART, Trial, Versions
from tests.servers.cluster import wait_until

NOTE = "import os, sys; open(os.environ['NOTES'], 'a').write('{} ' + ' '.join(sys.argv[1:]) + '\\n')\n"
KEEPS = """
from pathlib import Path
import json
root = Path(os.environ['MODELDIST_VERSIONS'])
if (root / 'trial.json').exists():
    trial = json.loads((root / 'trial.json').read_text())
    (root / 'current').unlink(missing_ok=True)
    (root / 'current').symlink_to(trial['version'])
"""


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(launcher, "PAUSE", 0.01)
    before = {signum: signal.getsignal(signum) for signum in launcher._PASSED_ON}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


class Machine:
    def __init__(self, root: Path) -> None:
        self.versions = Versions(root / "versions")
        self._notes = root / "notes"
        self._notes.touch()
        self._installed: Path | None = None

    def has(self, version: str, program: str) -> None:
        """A version of the program, which is no more than this."""
        package = self.versions.tree(version) / "modeldist"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(NOTE.format(version) + program)

    def runs(self, version: str) -> None:
        """It was kept."""
        (self.versions.root / "current").symlink_to(version)

    def tries(self, version: str, within: float = 10.0, undo: tuple[str, ...] = ()) -> None:
        self.versions.begin(Trial("r", version, self.versions.current, within, undo=undo))

    def installed(self, program: str) -> None:
        """By hand, whatever the version: what runs where no version does."""
        self._installed = self._notes.parent / "installed"
        package = self._installed / "modeldist"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(NOTE.format("installed") + program)

    def launch(self, *arguments: str, installed: str = __version__) -> int:
        environment = {**os.environ, "NOTES": str(self._notes)}
        if self._installed is not None:
            environment["PYTHONPATH"] = str(self._installed)
        return Launcher(self.versions.root, arguments or ("agent",), environment, installed).run()

    @property
    def ran(self) -> list[str]:
        return self._notes.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_launchers_own_version_runs_first(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    assert machine.launch("--version") == 0
    assert capfd.readouterr().out.startswith("modeldist ")


@pytest.mark.parametrize("code", [0, 1, 17])
def test_it_leaves_with_the_exit_code_of_what_runs(machine: Machine, code: int) -> None:
    machine.has("0.1.0", f"sys.exit({code})")
    machine.runs("0.1.0")
    assert machine.launch("agent", "--control", "x") == code
    assert machine.ran == ["0.1.0 agent --control x"]


def test_a_version_that_crashes_makes_place_for_the_one_before(machine: Machine) -> None:
    machine.has("0.1.0", "sys.exit(0)")
    machine.has("0.2.0", "sys.exit(1)")
    machine.runs("0.1.0")
    machine.tries("0.2.0")
    assert machine.launch() == 0
    assert machine.ran == ["0.2.0 agent"] * 3 + ["0.1.0 agent"]
    outcome = machine.versions.outcome()
    assert outcome is not None and outcome.why == "it ended by itself, with exit code 1, 3 times"


def test_a_version_that_hangs_makes_place_too(machine: Machine) -> None:
    machine.has("0.1.0", "sys.exit(0)")
    machine.has("0.2.0", "import time; time.sleep(60)")
    machine.runs("0.1.0")
    machine.tries("0.2.0", within=0.3)
    assert machine.launch() == 0
    assert machine.ran == ["0.2.0 agent", "0.1.0 agent"]


def test_what_a_version_did_is_undone_by_it_before_the_one_before_runs(machine: Machine) -> None:
    machine.has("0.1.0", "sys.exit(0)")
    machine.has("0.2.0", "sys.exit(1)")
    machine.runs("0.1.0")
    machine.tries("0.2.0", undo=("--migrate-to", "0006"))
    assert machine.launch("server") == 0
    assert machine.ran == ["0.2.0 server"] * 3 + ["0.2.0 server --migrate-to 0006", "0.1.0 server"]


def test_who_is_told_to_restart_runs_what_was_prepared(machine: Machine) -> None:
    tries = f"""
if not os.path.exists(os.environ['NOTES'] + '2'):
    open(os.environ['NOTES'] + '2', 'w').close()
    from pathlib import Path
    Path(os.environ['MODELDIST_VERSIONS'], 'trial.json').write_text(
        '{{"id": "r", "version": "0.2.0", "before": "0.1.0", "within": 10}}')
    sys.exit({RESTART})
"""
    machine.has("0.1.0", tries)
    machine.has("0.2.0", KEEPS + "sys.exit(3)")
    machine.runs("0.1.0")
    assert machine.launch() == 3
    assert machine.ran == ["0.1.0 agent", "0.2.0 agent", "0.2.0 agent"]
    assert machine.versions.current == "0.2.0"


def test_one_that_was_kept_is_the_service_managers_from_then_on(machine: Machine) -> None:
    kept = """
from pathlib import Path
root = Path(os.environ['MODELDIST_VERSIONS'])
(root / 'current').unlink()
(root / 'current').symlink_to('0.2.0')
(root / 'outcome.json').write_text('{"id": "r", "version": "0.2.0", "before": "0.1.0", "result": "kept"}')
(root / 'trial.json').unlink()
sys.exit(9)
"""
    machine.has("0.1.0", "sys.exit(0)")
    machine.has("0.2.0", kept)
    machine.runs("0.1.0")
    machine.tries("0.2.0")
    assert machine.launch() == 9
    assert machine.ran == ["0.2.0 agent"]


@pytest.mark.parametrize("code", [5, RESTART])
def test_a_signal_reaches_what_runs_and_ends_the_launcher(machine: Machine, code: int) -> None:
    machine.has(
        "0.1.0",
        f"import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))\n"
        "open(os.environ['NOTES'] + '3', 'w').close()\ntime.sleep(60)",
    )
    machine.runs("0.1.0")
    ready = Path(str(machine._notes) + "3")

    main = threading.main_thread().ident
    assert main is not None

    def stop() -> None:
        while not ready.exists():
            pass
        signal.pthread_kill(main, signal.SIGTERM)

    stopping = threading.Thread(target=stop)
    stopping.start()
    assert machine.launch() == code
    stopping.join()
    assert machine.ran == ["0.1.0 agent"], "whatever it leaves with"


def test_what_runs_does_not_outlive_its_launcher(machine: Machine) -> None:
    """Two agents on one store would be one node twice."""
    machine.has("0.1.0", "open(os.environ['NOTES'] + '4', 'w').write(str(os.getpid()))\nimport time; time.sleep(60)")
    machine.runs("0.1.0")
    root = str(machine.versions.root)
    launched = "import sys; from pathlib import Path; from modeldist.upgrade.launcher import Launcher; "
    launched += "Launcher(Path(sys.argv[1]), ['agent']).run()"
    said = Path(str(machine._notes) + "4")
    environment = {**os.environ, "NOTES": str(machine._notes)}
    with subprocess.Popen([sys.executable, "-c", launched, root], env=environment) as launcher:
        wait_until("it to run", lambda: said.exists() and said.read_text() != "")
        launcher.kill()
    wait_until("it to end", lambda: ended(said.read_text()))


def ended(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_a_trial_whose_files_are_gone(machine: Machine) -> None:
    machine.has("0.1.0", "sys.exit(0)")
    machine.runs("0.1.0")
    machine.tries("0.2.0")
    assert machine.launch() == 0
    assert machine.ran == ["0.1.0 agent"]
    assert machine.versions.trial() is None and machine.versions.current != OWN


def test_one_that_asks_for_another_version_for_ever_is_given_up(machine: Machine) -> None:
    machine.has("0.1.0", "sys.exit(7)")
    machine.has("0.2.0", f"sys.exit({RESTART})")
    machine.runs("0.1.0")
    machine.tries("0.2.0")
    assert machine.launch() == 7
    assert machine.ran == ["0.2.0 agent"] * 3 + ["0.1.0 agent"]
    outcome = machine.versions.outcome()
    assert outcome is not None and (outcome.result, outcome.before) == ("gone_back", "0.1.0")


def test_what_was_undone_need_not_be_written_down_for_the_one_before_to_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.has("0.1.0", "sys.exit(0)")
    machine.has("0.2.0", "sys.exit(1)")
    machine.runs("0.1.0")
    machine.tries("0.2.0", undo=("--migrate-to", "0006"))
    machine.versions.give_up("it was slow")
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        assert machine.launch("server") == 0
    assert machine.ran == ["0.2.0 server --migrate-to 0006", "0.1.0 server"]
    outcome = machine.versions.outcome()
    assert outcome is not None and outcome.undo == ("--migrate-to", "0006"), "the next start does it again"


def full(fd: int) -> None:
    raise OSError(ENOSPC, strerror(ENOSPC))


def test_what_was_installed_by_hand_runs_where_it_is_newer(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    machine.has("0.2.0", "sys.exit(0)")
    machine.installed("sys.exit(4)")
    machine.runs("0.2.0")
    assert machine.launch(installed="0.2.0rc1") == 0
    assert capfd.readouterr().err == ("modeldist launch: 0.2.0 runs, which a rollout brought; 0.2.0rc1 is installed\n")
    assert machine.launch(installed="0.10.0") == 4
    assert capfd.readouterr().err == (
        "modeldist launch: 0.10.0 runs, as installed: it is newer than 0.2.0, which a rollout brought\n"
    )
    assert machine.launch(installed="nonsense") == 4
    assert machine.versions.current == OWN
    assert machine.ran == ["0.2.0 agent", "installed agent", "installed agent"]


def test_a_trial_goes_before_what_was_installed_by_hand_and_back_to_it(machine: Machine) -> None:
    machine.has("0.2.0", "sys.exit(0)")
    machine.has("0.3.0", "sys.exit(1)")
    machine.installed("sys.exit(4)")
    machine.runs("0.2.0")
    machine.tries("0.3.0")
    assert machine.launch(installed="0.2.5") == 4
    assert machine.ran == ["0.3.0 agent"] * 3 + ["installed agent"]


def test_a_rollout_goes_on_from_what_was_installed_by_hand_and_back_to_it(machine: Machine) -> None:
    machine.has("0.2.0", "sys.exit(0)")
    machine.has("0.3.0", "sys.exit(0)")
    machine.installed("sys.exit(4)")
    machine.runs("0.2.0")
    assert machine.launch(installed="0.2.5") == 4
    machine.tries("0.3.0")
    machine.versions.keep()
    assert machine.launch(installed="0.2.5") == 0
    assert machine.versions.go_back("r", "the control plane had it go back")
    assert machine.launch(installed="0.2.5") == 4
    assert machine.ran == ["installed agent", "0.3.0 agent", "installed agent"]
