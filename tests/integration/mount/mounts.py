"""A `modeldist mount` as a process, and what a test asks of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from modeldist.mount import syscalls
from modeldist.mount.mount_table import OURS, mounted_at
from tests.servers.cluster import MODELDIST, PATIENCE

MIB = 1 << 20

needs_fuse = pytest.mark.skipif(
    not os.access("/dev/fuse", os.R_OK | os.W_OK) or find_spec("pyfuse3") is None or not syscalls.may_mount(),
    reason="there is no /dev/fuse here, no pyfuse3, or this user may not mount",
)


@dataclass
class Mount:
    """One process. `said` is its standard error so far."""

    directory: Path
    process: subprocess.Popen[str]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def types(self) -> list[str]:
        """Of what is mounted at the directory."""
        return [found.type for found in mounted_at(self.directory)]

    def ended(self) -> int:
        """Its exit code, when it has ended."""
        return self.process.wait(PATIENCE)


@dataclass(frozen=True)
class Shell:
    """Where commands run: their environment, and a directory for what they leave. `inside` goes in front of them."""

    home: Path
    environment: dict[str, str]
    inside: tuple[str, ...] = ()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self.inside, *MODELDIST, *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=2 * PATIENCE
        )

    @contextmanager
    def mounted(self, reference: str, *options: str, at: str = "model") -> Iterator[Mount]:
        """In the foreground, readable. Nothing of it is left after the block."""
        directory, log = self.home / at, self.home / f"{at}.log"
        with log.open("a") as stderr:
            process = subprocess.Popen(
                [*self.inside, *MODELDIST, "mount", reference, str(directory), *options],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line == f"{directory}\n", f"mount printed {line!r}: {log.read_text()}"
            yield Mount(directory, process, log)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()
            process.wait()
            process.stdout.close()
            while mounted_at(directory):
                syscalls.detach(directory)


def is_fuse(mount: Mount) -> bool:
    """Whether reads go through the process, and not straight to the store."""
    return mount.types[-1:] == [OURS]
