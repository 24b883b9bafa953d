"""What the lab asks of every other way to put a model onto nodes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.netlab.cost import Cost
from tests.netlab.figures import Raw
from tests.netlab.model import Model
from tests.netlab.namespaces import LabError
from tests.netlab.origin import Origin
from tests.netlab.scenario import LabScenario
from tests.netlab.topology import Topology

_PATIENCE = 600.0


@dataclass(frozen=True)
class Arena:
    """One run: where, what, and `home`, an empty directory that is removed afterwards."""

    lab: Topology
    scenario: LabScenario
    origin: Origin
    made: Model
    home: Path

    def folder(self, node: str) -> Path:
        """The node's own; made if it is not there."""
        path = self.home / node
        path.mkdir(parents=True, exist_ok=True)
        return path

    def raw(self, ended: Mapping[str, Ended], origin_bytes: int, uplink: Mapping[str, int]) -> Raw:
        """The figures of finished nodes, their files checked."""
        cost = sum((end.cost for end in ended.values()), Cost())
        wrong = [f"{node}/{name}" for node in ended for name in self.made.wrong_in(self.folder(node))]
        return Raw(
            {node: end.seconds for node, end in ended.items()},
            origin_bytes,
            cost.cpu,
            cost.peak,
            uplink,
            wrong=tuple(wrong),
        )


class Rival(Protocol):
    name: str
    says: str  # how it was set up, for the document

    def missing(self) -> str:
        """Why it cannot run here; "" when it can."""
        ...

    def run(self, arena: Arena) -> Raw: ...


@dataclass(frozen=True, slots=True)
class Ended:
    seconds: float
    cost: Cost


class NodeProcess:
    """One node's program. It is over when it says `done` on a line, or ends with exit code 0."""

    def __init__(self, node: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.node = node
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors = ""
        self._seconds: float | None = None
        self._watcher: threading.Thread | None = None

    def wait_ready(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            self._process.kill()
            said = self._process.stderr.read() if self._process.stderr else ""
            raise LabError(f"{self.node} did not start: {said.strip()[-500:]}")

    def go(self) -> None:
        """One line on its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def watch(self, zero: float) -> None:
        self._watcher = threading.Thread(target=self._watch, args=(zero,), daemon=True)
        self._watcher.start()

    def _watch(self, zero: float) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == "done":
                break
        self._seconds = time.monotonic() - zero

    def wait_done(self) -> None:
        assert self._watcher is not None
        self._watcher.join(_PATIENCE)

    def finish(self) -> Ended:
        """End it. Raises LabError when it failed or did not come to its end."""
        self.wait_done()
        seconds = self._seconds
        if seconds is None:
            self._process.kill()
            raise LabError(f"{self.node} did not end in {_PATIENCE:.0f} s")
        return Ended(seconds, self._bury())

    def _bury(self) -> Cost:
        assert self._process.stdin is not None and self._process.stderr is not None
        self._process.stdin.close()
        self._errors = self._process.stderr.read()
        self._close()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode:
            raise LabError(f"{self.node}: exit code {self._process.returncode}: {self._errors.strip()[-500:]}")
        return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)

    def kill(self) -> None:
        """Whatever it does; its output is not read any more."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        if self._watcher is not None:
            self._watcher.join()
        self._close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed:
                with suppress(BrokenPipeError):
                    pipe.close()


def all_at_once(
    commands: Mapping[str, Sequence[str]], environment: Mapping[str, str] | None = None
) -> dict[str, Ended]:
    """Start one program per node at the same moment; when each had everything."""
    zero = time.monotonic()
    processes = [NodeProcess(node, command, environment) for node, command in commands.items()]
    return gather(processes, zero)


def gather(processes: Sequence[NodeProcess], zero: float) -> dict[str, Ended]:
    """Wait for all; nobody is ended before all have finished."""
    try:
        for process in processes:
            process.watch(zero)
        for process in processes:
            process.wait_done()
        return {process.node: process.finish() for process in processes}
    except BaseException:
        for process in processes:
            process.kill()
        raise
