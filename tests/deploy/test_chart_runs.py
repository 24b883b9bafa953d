"""The rendered pods as processes of this machine, from the first start to a connected agent, as the notes have it.

What is between containers (the Service, the Secret) is put in place by hand; a cluster is not to be had here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.deploy.helm import VALUE_SETS, rendered, workload
from tests.deploy.pods import Container, container
from tests.servers.cluster import Process

PLAIN = next(path for path in VALUE_SETS if path.stem == "gateway-mirrors")


def program(words: tuple[str, ...]) -> list[str]:
    assert words[0] == "modeldist"
    return [sys.executable, "-m", *words]


@contextmanager
def running(name: str, pod: Container, home: Path, *more: str) -> Iterator[Process]:
    process = Process(name, [*pod.words[1:], *more], {**os.environ, **pod.environment}, home)
    process.start()
    try:
        yield process
        assert process.stop() == 0, process.log
    finally:
        process.kill()


def succeeds(words: list[str], pod: Container) -> bool:
    return subprocess.run(words, env={**os.environ, **pod.environment}, capture_output=True, timeout=60).returncode == 0


def answers(url: str) -> bool:
    return status_of(url) == 200


def status_of(url: str, token: str = "") -> int:
    """0 where nobody answers."""
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with urlopen(Request(url, headers=headers), timeout=5) as answer:
            return int(answer.status)
    except HTTPError as answer:
        return answer.code
    except (URLError, OSError):
        return 0


def test_from_the_first_start_to_a_connected_agent(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> None:
    port, pieces, gateway, metrics = (unused_tcp_port_factory() for _ in range(4))
    settings = {
        "controlPlane.port": port,
        "agent.port": pieces,
        "agent.gateway.port": gateway,
        "agent.metrics.port": metrics,
        "agent.controlUrl": f"http://127.0.0.1:{port}",
    }
    chosen = ",".join(f"{name}={value}" for name, value in settings.items())
    documents = rendered(PLAIN, "--set", chosen)
    control = container(workload(documents, "control")["spec"]["template"]["spec"], tmp_path / "control")
    agent = container(workload(documents, "agent")["spec"]["template"]["spec"], tmp_path / "agent", "127.0.0.1")

    with running("control", control, tmp_path, "--host=127.0.0.1") as plane:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = control.spec[probe]["httpGet"]
            url = f"{asked['scheme'].lower()}://127.0.0.1:{control.port(asked['port'])}{asked['path']}"
            plane.wait_for(probe, lambda url=url: answers(url))
        made = subprocess.run(
            program(("modeldist", "token", "create", "agents", "--scope", "agent")),
            env={**os.environ, **control.environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        (tmp_path / "agent/etc/modeldist/token/token").write_text(made.stdout)
        with running("agent", agent, tmp_path) as node:
            run = str(tmp_path / "agent/run/modeldist")
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = agent.spec[probe]["exec"]["command"]
                words = program(tuple(word.replace("/run/modeldist", run) for word in asked))
                node.wait_for(probe, lambda words=words: succeeds(words, agent))
            status = program(("modeldist", "status"))  # by MODELDIST_SOCKET, as in the container
            node.wait_for("a session", lambda: b"connected\n" in _said(status, agent))
            assert status_of(f"http://127.0.0.1:{gateway}/") == 404  # the gateway's own answer
            assert status_of(f"http://127.0.0.1:{metrics}/metrics") == 401
            scrapes = (tmp_path / "agent/etc/modeldist/metrics/token").read_text().strip()
            assert status_of(f"http://127.0.0.1:{metrics}/metrics", scrapes) == 200


def _said(words: list[str], pod: Container) -> bytes:
    said = subprocess.run(words, env={**os.environ, **pod.environment}, capture_output=True, timeout=60).stdout
    return said.replace(b"not connected", b"")
