"""`modeldist` as a person at a shell runs it, with a store of its own and no agent."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.servers.cluster import MODELDIST


class Shell:
    """One user with one store. `run` waits, `start` does not."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.store = home / "store"
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "DOCKER_CONFIG": str(home / "docker"),
            "MODELDIST_STORE": str(self.store),
            "MODELDIST_SOCKET": str(home / "no-agent.sock"),
            "NO_COLOR": "1",
            **environment,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*MODELDIST, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*MODELDIST, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )

    def pull(self, reference: str, *flags: str) -> Path:
        """A pull that must succeed: the path it printed, and nothing but the path."""
        done = self.run("pull", *flags, reference)
        assert done.returncode == 0, done.stderr
        (path,) = done.stdout.splitlines()
        return Path(path)

    def pull_json(self, reference: str) -> dict[str, Any]:
        done = self.run("pull", "--json", reference)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def fails(self, code: int, *arguments: str) -> str:
        """A command that must fail with this exit code: one line on stderr, nothing on stdout; returns the line."""
        done = self.run(*arguments)
        assert done.returncode == code, (done.returncode, done.stderr, done.stdout)
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return " ".join(done.stderr.split())
