"""`python -m tests.hub_clients [RELEASE …]`: fails when a release does not get what it should through the gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tests.integration.gateway.gateway_nodes import TOKEN, Nodes, files_in, model
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault

RELEASES = ("0.36.2", "1.31.0", "2.4.0")
JOURNEY = Path(__file__).with_name("journey.py")
ENVIRONMENTS = Path(".cache/hub-clients")
PATIENCE = 120  # seconds for a client
ERRORS = {
    "absent repository": "RepositoryNotFoundError",
    "absent revision": "RevisionNotFoundError",
    "absent file": "EntryNotFoundError",
    "gated": "GatedRepoError",
    "granted": "none",
}


class Client:
    """A release of huggingface_hub on one node, with a cache of its own."""

    def __init__(self, programs: Path, endpoint: str, home: Path) -> None:
        self._programs = programs
        self._environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": ""}

    def start(self, program: str, *arguments: str, **more: str) -> subprocess.Popen[str]:
        environment = {**self._environment, **more}
        pipe = subprocess.PIPE
        command = [str(self._programs / program), *arguments]
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, program: str, *arguments: str, **more: str) -> str:
        return ended(self.start(program, *arguments, **more))


def ended(client: subprocess.Popen[str]) -> str:
    """What it printed last."""
    out, err = client.communicate(timeout=PATIENCE)
    assert client.returncode == 0, f"{client.args!r}:\n{out}\n{err}"
    return out.strip().splitlines()[-1]


def environment_of(release: str) -> Path:
    """The programs of an environment with this release, which is made once."""
    folder = ENVIRONMENTS / release
    programs = folder.absolute() / "bin"
    if not (programs / "hf").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([programs / "python", "-m", "pip", "install", "-q", f"huggingface_hub=={release}"], check=True)
    return programs


def journey(nodes: Nodes, release: str, programs: Path, home: Path) -> None:
    repo = f"org/journey-{release}"
    nodes.hub.commit(repo, model(repo))
    client = Client(programs, nodes.urls[0], home)
    said = json.loads(client.run("python", str(JOURNEY), repo, "org/gated"))
    assert files_in(said["snapshot"]) == model(repo)
    assert said["files"] == sorted(model(repo))
    assert said["listed"] == sorted(f"{repo}/{path}" for path in model(repo))
    for what, error in ERRORS.items():
        assert error in said[what], f"{what}: {said[what]}, not {error}"
    moved = nodes.hub.body_bytes(f"/{repo}/resolve/")
    assert files_in(client.run("hf", "download", "--quiet", repo)) == model(repo)
    assert files_in(client.run("hf", "download", "--quiet", repo, HF_HUB_OFFLINE="1")) == model(repo)
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") == moved == sum(map(len, model(repo).values()))


def interrupted(nodes: Nodes, release: str, programs: Path, home: Path) -> None:
    """Killed in the middle, and started again: nothing is read twice."""
    repo = f"org/interrupted-{release}"
    nodes.hub.commit(repo, model(repo))
    client = Client(programs, nodes.urls[0], home)
    held = nodes.hub.fail(Fault(path="model-00002", method="GET", hold_at=1_000_000))
    first = client.start("hf", "download", "--quiet", repo)
    try:
        assert held.held.wait(PATIENCE), first.communicate()
    finally:
        first.kill()
        first.communicate()
        held.until.set()
    assert files_in(client.run("hf", "download", "--quiet", repo)) == model(repo)
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") == sum(map(len, model(repo).values()))


def together(nodes: Nodes, release: str, programs: Path, home: Path) -> float:
    """One client on each node at once: bytes read from the hub by those the model has."""
    repo = f"org/together-{release}"
    nodes.hub.commit(repo, model(repo))
    clients = [Client(programs, url, home / str(node)) for node, url in enumerate(nodes.urls)]
    for client in [client.start("hf", "download", "--quiet", repo) for client in clients]:
        assert files_in(ended(client)) == model(repo)
    return nodes.hub.body_bytes(f"/{repo}/resolve/") / sum(map(len, model(repo).values()))


def main(releases: tuple[str, ...]) -> None:
    programs = {release: environment_of(release) for release in releases}
    with tempfile.TemporaryDirectory(prefix="hub-clients-") as temporary, Hub() as hub:
        home = Path(temporary)
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home / "hf"),
            "MODELDIST_AGENT_GATEWAY": "127.0.0.1:0",
        }
        hub.commit("org/gated", model("gated"))
        hub.restrict("org/gated", [TOKEN, "hf_granted"])
        with Cluster(home / "cluster", agents=4, environment=environment) as cluster:
            nodes = Nodes(hub, cluster)
            for release, its in programs.items():
                journey(nodes, release, its, home / f"{release}-journey")
                interrupted(nodes, release, its, home / f"{release}-interrupted")
                amplification = together(nodes, release, its, home / f"{release}-together")
                print(f"huggingface_hub {release}: all as it should be; four clients at once: A = {amplification:.2f}")
                assert amplification == 1.0


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or RELEASES)
