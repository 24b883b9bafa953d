"""A reader's shell: one bash for a whole page, so that what a line exports, enters or starts is there for the next."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class Session:
    """Context manager; what the page left running ends with it."""

    def __init__(self, room: Path, environment: Mapping[str, str]) -> None:
        self._room = room
        self._environment = dict(environment)
        self._files = tempfile.TemporaryDirectory(prefix="page-")
        self._bash: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bash is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._bash.pid, signal.SIGTERM)
            self._bash.communicate()
        self._files.cleanup()

    def run(self, code: str) -> tuple[int, str]:
        """(status, all that was printed) of a command, pasted as it is."""
        bash = self._started()
        command, printed = (Path(self._files.name) / name for name in ("command", "printed"))
        command.write_text(f"{code}\n")
        assert bash.stdin is not None
        assert bash.stdout is not None
        # What it leaves running writes into that file too, and never into the pipe that brings the status.
        bash.stdin.write(f'. {command} < /dev/null > {printed} 2>&1; echo "$?"\n')
        bash.stdin.flush()
        status = bash.stdout.readline().strip()
        text = printed.read_text(errors="replace")
        printed.unlink()
        return (int(status) if status else bash.wait()), text

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
