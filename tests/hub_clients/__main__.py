"""`python -m tests.hub_clients [RELEASE …]`: fails when a release does not get what it should through the gateway."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.demo.model import fetch_model
from tests.hub_clients import mounted
from tests.integration.gateway.gateway_nodes import TOKEN, Nodes, files_in, model
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault

RELEASES = ("0.36.2", "1.31.0", "2.4.0")
TRANSFORMERS = {"4.57.3": "0.36.2", "5.23.0": "2.4.0"}
"""Its releases, and the huggingface_hub in whose environment each is: the oldest and the newest that it works with."""
TORCH = os.environ.get("TORCH", "")
"""With it, as in TORCH=torch==2.13.0, transformers load models too; it is large, so nobody has to have it."""
JOURNEY = Path(__file__).with_name("journey.py")
WITH_TRANSFORMERS = Path(__file__).with_name("with_transformers.py")
REAL = "sentence-transformers/all-MiniLM-L6-v2"
ENVIRONMENTS = Path(".cache/hub-clients")
NOBODY = "http://127.0.0.1:9"
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


def packages(hub: str) -> list[str]:
    """What goes into the environment of a release of huggingface_hub."""
    users = [f"transformers=={release}" for release, its in TRANSFORMERS.items() if its == hub]
    torch = [TORCH] if users and TORCH else []
    return [f"huggingface_hub=={hub}", *users, *torch]


def environment_of(*packages: str) -> Path:
    """The programs of an environment with these packages, which is made once."""
    folder = ENVIRONMENTS / "-".join(packages).replace("==", "-")
    programs = folder.absolute() / "bin"
    made = folder / "made"
    if not made.exists():
        # Links: a copy cannot be run while what another thread starts meanwhile still has it open for writing.
        venv.create(folder, with_pip=True, clear=True, symlinks=True)
        subprocess.run([programs / "python", "-m", "pip", "install", "-q", *packages], check=True)
        made.touch()
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


def real_model(nodes: Nodes, folder: Path, release: str, programs: Path, home: Path) -> None:
    """A real model by transformers: from the hub, and offline from what came."""
    repo = f"{REAL}-{release}"
    nodes.hub.commit(repo, folder)
    client = Client(programs, nodes.urls[0], home)
    first = json.loads(client.run("python", str(WITH_TRANSFORMERS), repo))
    again = json.loads(client.run("python", str(WITH_TRANSFORMERS), repo, HF_HUB_OFFLINE="1", HF_ENDPOINT=NOBODY))
    assert first == again
    config = json.loads((folder / "config.json").read_text())
    assert {name: first[name] for name in ("model_type", "hidden_size")} == {
        name: config[name] for name in ("model_type", "hidden_size")
    }
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    words = ["[CLS]", "each", "byte", "leaves", "the", "hub", "once", ".", "[SEP]"]
    assert first["tokens"] == [vocabulary[word] for word in words]
    weights = (folder / "model.safetensors").read_bytes()
    assert first["weights"] == hashlib.sha256(weights).hexdigest()
    assert first.get("hidden", [1, len(words), config["hidden_size"]]) == [1, len(words), config["hidden_size"]]
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") < len(weights) * 1.1
    torch = "with" if "hidden" in first else "without"
    print(f"transformers {release}: config, tokenizer, {torch} AutoModel; and again offline")
    if absent := mounted.why_not():
        print(f"transformers {release}: no mount, as {absent}")
        return
    with mounted.IncompleteModel(nodes.hub, folder, home.with_name(f"{home.name}-mounted")) as directory:
        assert json.loads(client.run("python", str(WITH_TRANSFORMERS), str(directory))) == first
    print(f"transformers {release}: the same through a mount, before the pull was complete")


def main(releases: tuple[str, ...]) -> None:
    transformers = {release: hub for release, hub in TRANSFORMERS.items() if hub in releases}
    with ThreadPoolExecutor() as making:
        made = {hub: making.submit(environment_of, *packages(hub)) for hub in releases}
    programs = {hub: environment.result() for hub, environment in made.items()}
    folder = fetch_model(Path(".cache/demo"))
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
            for release, hub_release in transformers.items():
                real_model(nodes, folder, release, programs[hub_release], home / f"transformers-{release}")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or RELEASES)
