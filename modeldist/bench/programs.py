"""One run of a program: seconds, CPU, memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from modeldist.bench.runs import Run
from modeldist.errors import ModeldistError


class ProgramFailed(ModeldistError):
    """A program that a benchmark compares with did not do its work."""

    code = "program_failed"


def run_program(command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> Run:
    """Run it to its end; what it says is kept for the error. Raises ProgramFailed."""
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            last = said.read().decode(errors="replace").strip()[-2000:]
            raise ProgramFailed(
                f"{command[0]} ended with status {process.returncode}: {last}", remedy="Run it by hand to see why."
            )
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
