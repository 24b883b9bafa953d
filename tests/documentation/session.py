"""A reader's shell: one bash for a whole page, so that what a line exports, enters or starts is there for the next."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 60.0  # seconds for what stays to be ready


class Session:
    """Context manager; what the page left running ends with it."""

    def __init__(self, room: Path, environment: Mapping[str, str]) -> None:
        self._room = room
        self._environment = dict(environment)
        self._files = tempfile.TemporaryDirectory(prefix="page-")
        self._bash: subprocess.Popen[str] | None = None
        self._staying: dict[int, str] = {}
        self.logs: list[Path] = []  # of what stays, in the order in which it was started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bash is not None:
            if error is None:
                for process in reversed(list(self._staying)):
                    self.stop(process)
            with suppress(ProcessLookupError):
                os.killpg(self._bash.pid, signal.SIGTERM)
            self._bash.communicate()
        self._files.cleanup()

    def run(self, code: str) -> tuple[int, str]:
        """(status, all that was printed) of a command, pasted as it is."""
        command, printed = self._file("command", code), Path(self._files.name) / "printed"
        # What it leaves running writes into that file too, and never into the pipe that brings the status.
        status = self._ask(f'. {command} < /dev/null > {printed} 2>&1; echo "$?"')
        text = printed.read_text(errors="replace")
        printed.unlink()
        return (int(status) if status else self._started().wait()), text

    def start(self, kind: str, code: str, ready: str, *, alone: bool = False) -> None:
        """Start a command that stays, as if in a terminal of its own, and return once the command `ready` succeeds;
        "$log" in that is the file with what the other printed. `alone`: what runs of its kind is stopped before.
        RuntimeError with what it printed where it ends instead."""
        for process, other in list(self._staying.items()):
            if alone and other == kind:
                self.stop(process)
        log = Path(self._files.name) / f"log-{len(self.logs)}"
        command = self._file(f"start-{len(self.logs)}", f"exec {code}")
        self.logs.append(log)
        process = int(self._ask(f'. {command} < /dev/null > {log} 2>&1 & echo "$!"'))
        self._staying[process] = kind
        deadline = time.monotonic() + PATIENCE
        while self.run(f"log={log}; {ready}")[0]:
            if self.run(f"kill -0 {process}")[0] or time.monotonic() > deadline:
                raise RuntimeError(f"{code} is not ready; it printed\n{log.read_text(errors='replace')}")
            time.sleep(0.05)

    def stop(self, process: int) -> None:
        """Ask what stays to end, and wait until it has."""
        del self._staying[process]
        self.run(f"kill {process}; wait {process}")

    def _file(self, name: str, code: str) -> Path:
        path = Path(self._files.name) / name
        path.write_text(f"{code}\n")
        return path

    def _ask(self, line: str) -> str:
        """What the shell answers to a line that prints one."""
        bash = self._started()
        assert bash.stdin is not None
        assert bash.stdout is not None
        bash.stdin.write(f"{line}\n")
        bash.stdin.flush()
        return bash.stdout.readline().strip()

    def _started(self) -> subprocess.Popen[str]:
        if self._bash is None:
            self._bash = subprocess.Popen(
                ["bash", "--norc", "--noprofile"],
                cwd=self._room,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        return self._bash
