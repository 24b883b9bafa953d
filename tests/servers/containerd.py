"""Debian's containerd as a process with a root of its own, and its client `ctr`.

    with Containerd({"registry.example": "http://127.0.0.1:7430"}) as containerd:
        containerd.pull("registry.example/org/image:v1")

Registries have a mirror and no server of their own, so what is pulled came from there. The test is skipped where
containerd is missing, or cannot run (it needs root).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

_PATIENCE = 30.0  # seconds
_NOWHERE = "http://127.0.0.1:1"


class Containerd:
    """`mirrors`: by registry, the URL of what stands in for it."""

    def __init__(self, mirrors: Mapping[str, str]) -> None:
        if shutil.which("containerd") is None or shutil.which("ctr") is None:
            pytest.skip("containerd is not installed (Debian: apt-get install containerd)")
        if os.geteuid() != 0:
            pytest.skip("containerd runs as root alone")
        self._mirrors = mirrors
        self._folder = tempfile.TemporaryDirectory(prefix="containerd-")  # short: a socket's path has 107 bytes
        self._home = Path(self._folder.name)
        self._socket = self._home / "containerd.sock"
        self._hosts = self._home / "hosts"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for registry, url in self._mirrors.items():
            (self._hosts / registry).mkdir(parents=True)
            hosts = f'server = "{_NOWHERE}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
            (self._hosts / registry / "hosts.toml").write_text(hosts)
        config = {
            "version": 2,
            "root": str(self._home / "root"),
            "state": str(self._home / "state"),
            "disabled_plugins": ["io.containerd.grpc.v1.cri"],
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in config.items()]
        path = self._home / "config.toml"
        path.write_text("\n".join([*lines, "[grpc]", f"address = {json.dumps(str(self._socket))}"]))
        with (self._home / "containerd.log").open("wb") as log:
            self._process = subprocess.Popen(["containerd", "-c", str(path)], stdout=log, stderr=log)
        deadline = time.monotonic() + _PATIENCE
        while self._ctr("version").returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self._home / "containerd.log").read_text()[-1000:]
                self.stop()
                pytest.skip(f"containerd does not run here:\n{said}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_PATIENCE)
            self._process = None
        self._folder.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """Of a shell in which `ctr` speaks to this one, and unpacks without mounts of its own."""
        return {"CONTAINERD_ADDRESS": str(self._socket), "CONTAINERD_SNAPSHOTTER": "native"}

    def pull(self, reference: str, *flags: str) -> None:
        """With its content alone, as unpacking needs mounts. AssertionError with its words when it fails."""
        done = self._ctr("content", "fetch", "--hosts-dir", str(self._hosts), *flags, reference)
        assert done.returncode == 0, done.stderr + done.stdout

    def content(self) -> set[str]:
        """Digests of what it holds."""
        return set(self._ctr("content", "ls", "-q").stdout.split())

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["ctr", "--address", str(self._socket), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
