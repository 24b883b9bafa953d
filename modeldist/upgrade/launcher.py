"""What a service manager starts in the place of the program: it runs a version of it as its child, passes signals on,
and leaves with the child's exit code. A version on trial that ends by itself, or does not come up in time, makes place
for the one before. What was installed by hand runs where it is newer than what a rollout brought. Standard library
only, but for comparing versions."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from modeldist import __version__
from modeldist.upgrade.newer import newer
from modeldist.upgrade.versions import OWN, PLACE, RESTART, Trial, Versions

LOOKED_AT = 0.2  # seconds between two looks at a version that is to come up
ENDS_WITHIN = 15.0  # seconds from SIGTERM to SIGKILL
UNDONE_WITHIN = 120.0
PAUSE = 1.0  # seconds before a version that crashed is tried again
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG = 1


class Launcher:
    """`arguments`: of `modeldist`, as in `agent --control …`; `installed`: the launcher's own version."""

    def __init__(
        self,
        root: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        installed: str = __version__,
    ) -> None:
        self._versions = Versions(root)
        self._arguments = list(arguments)
        self._environment = dict(os.environ if environment is None else environment)
        self._installed = installed
        self._said_of = OWN
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def run(self) -> int:
        """Returns the exit code to leave with."""
        self._versions.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for signum in _PASSED_ON:
            signal.signal(signum, self._pass_on)
        while True:
            self._undo()
            version, trial = self._versions.choose()
            if trial is None and version != OWN:
                version = self._installed_or(version)
            if trial is not None:
                _say(f"trying version {version or 'its own'}")
            began = time.monotonic()
            code = self._run(version, trial)
            if self._stopping:
                return _exit_code(code)
            if code != RESTART:
                if trial is None or self._kept(trial):
                    return _exit_code(code)
                self._versions.crashed(f"it ended by itself, {_how(code)}")
            elif trial is not None and (now := self._versions.trial()) is not None and now.id == trial.id:
                self._versions.crashed("it asked for another version, and for none that is there")
            if time.monotonic() - began < PAUSE:
                time.sleep(PAUSE)
            self._say_what_became()

    def _kept(self, trial: Trial) -> bool:
        """While it ran: it is what a service manager minds from then on."""
        outcome = self._versions.outcome()
        kept = outcome is not None and (outcome.id, outcome.result) == (trial.id, "kept")
        return kept and self._versions.trial() is None

    def _run(self, version: str, trial: Trial | None) -> int:
        # No other thread runs here.
        with subprocess.Popen(  # noqa: S603 - our own interpreter and program
            self._command(self._arguments),
            env=self._environment_of(version),
            preexec_fn=_die_with_parent,  # noqa: PLW1509
        ) as child:
            self._child = child
            try:
                if self._stopping:
                    child.terminate()
                if trial is None or trial.up:
                    return child.wait()
                return self._watched(child, trial)
            finally:
                self._child = None

    def _watched(self, child: subprocess.Popen[bytes], trial: Trial) -> int:
        until = time.monotonic() + trial.within
        while True:
            try:
                return child.wait(LOOKED_AT)
            except subprocess.TimeoutExpired:
                now = self._versions.trial()
                if now is None or now.up:
                    return child.wait()
                if time.monotonic() > until and not self._stopping:
                    self._versions.give_up(f"it did not come up within {trial.within:g} seconds")
                    _end(child)
                    return RESTART

    def _installed_or(self, kept: str) -> str:
        """Somebody who installed something newer wants it to run."""
        if newer(self._installed, kept):
            try:
                self._versions.prefer_own()
            except OSError as error:
                _say(f"{kept} runs, which a rollout brought; {self._installed} is installed, but: {error}")
                return kept
            _say(f"{self._installed} runs, as installed: it is newer than {kept}, which a rollout brought")
            return OWN
        if kept != self._said_of:
            self._said_of = kept
            _say(f"{kept} runs, which a rollout brought; {self._installed} is installed")
        return kept

    def _undo(self) -> None:
        """What the version that was given up did, and only it knows how to undo."""
        outcome = self._versions.outcome()
        if outcome is None or outcome.result != "gone_back" or not outcome.undo or self._versions.trial() is not None:
            return
        command = self._command([*self._arguments, *outcome.undo])
        _say(f"undoing: {' '.join(outcome.undo)}")
        try:
            subprocess.run(  # noqa: S603
                command, env=self._environment_of(outcome.version), check=False, timeout=UNDONE_WITHIN
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            _say(f"that failed: {error}")
        try:
            self._versions.undone()
        except OSError as error:  # it is done again at the next start; what ran before runs all the same
            _say(f"that cannot be written down: {error.strerror or error}")

    def _command(self, arguments: Sequence[str]) -> list[str]:
        # -P: a directory called modeldist where the service happens to run is not this program.
        return [sys.executable, "-P", "-m", "modeldist", *arguments]

    def _environment_of(self, version: str) -> dict[str, str]:
        environment = {**self._environment, PLACE: str(self._versions.root)}
        if version != OWN:
            before = environment.get("PYTHONPATH")
            tree = str(self._versions.tree(version))
            environment["PYTHONPATH"] = f"{tree}{os.pathsep}{before}" if before else tree
        return environment

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        if signum in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True
        if (child := self._child) is not None and child.returncode is None:
            child.send_signal(signum)

    def _say_what_became(self) -> None:
        outcome = self._versions.outcome()
        if self._versions.trial() is None and outcome is not None and outcome.result == "gone_back":
            _say(f"version {outcome.version} was given up: {outcome.why}; {outcome.before or 'its own'} runs again")


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _die_with_parent() -> None:
    """Two agents on one store would be one node twice: none outlives the launcher that a next one cannot see."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _exit_code(code: int) -> int:
    return 128 - code if code < 0 else code


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


def _say(text: str) -> None:
    sys.stderr.write(f"modeldist launch: {text}\n")
    sys.stderr.flush()
