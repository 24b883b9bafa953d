"""Debian's Prometheus on loopback, with a configuration of the test's.

with Prometheus(tmp_path, {"scrape_configs": […]}) as prometheus:
    prometheus.query("up")
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import pytest
import yaml

from tests.servers.cluster import wait_until

START_WITHIN = 60.0  # seconds


def program(name: str) -> str:
    """`prometheus` or `promtool`."""
    if (found := shutil.which(name)) is None:
        pytest.fail(
            f"{name} is not installed (Debian: apt-get install prometheus; deploy/setup/system-packages.sh does)"
        )
    return found


class Prometheus:
    """Scrapes and evaluates once a second, whatever `config` has of that."""

    def __init__(self, home: Path, config: dict[str, Any]) -> None:
        self._home = home
        self._config = {**config, "global": {"scrape_interval": "1s", "evaluation_interval": "1s"}}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx2.Client(base_url=f"http://127.0.0.1:{self._port}", trust_env=False, timeout=30)

    def __enter__(self) -> Self:
        self._home.mkdir(parents=True, exist_ok=True)
        (self._home / "prometheus.yml").write_text(yaml.safe_dump(self._config))
        log = self._home / "prometheus.log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={self._home / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._home / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            wait_until("Prometheus to be ready", lambda: self._ready(log), seconds=START_WITHIN)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _ready(self, log: Path) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Prometheus ended:\n{log.read_text(errors='replace')[-3000:]}"
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Its vector. AssertionError with Prometheus' words where it is no expression."""
        answer = self._http.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def value(self, expression: str) -> float | None:
        """Of the only sample; None where there is none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def names(self) -> set[str]:
        """Of all series that there are."""
        return set(self._http.get("/api/v1/label/__name__/values").json()["data"])

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._http.get("/api/v1/targets").json()["data"]["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        groups = self._http.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]
