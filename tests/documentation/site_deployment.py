"""docs/deploy.md from its first line to its last, by what stands in for docker, helm and kubectl
(tests/deploy/operators_commands.py). `make docs` runs this."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.request import Request, urlopen

from tests.deploy.helm import ROOT, Document, helm
from tests.deploy.operators_commands import Objects, install
from tests.documentation import page
from tests.integration.gateway.gateway_nodes import gateway_of
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub

PAGE = ROOT / "docs" / "deploy.md"
PAGES = [PAGE]
YOURS = {"modeldist-tls", "company-ca"}  # what the values say that there is


def checkout(room: Path) -> Path:
    """The directory that a reader is in; what the page writes is not written into ours."""
    room.mkdir()
    for each in ROOT.iterdir():
        if not each.name.startswith("."):
            (room / each.name).symlink_to(each)
    return room


def test_deployment(tmp_path: Path) -> None:
    helm("version")  # or skip
    state, programs = tmp_path / "state", tmp_path / "bin"
    programs.mkdir()
    install(programs, state)
    with Hub() as hub:
        hub.commit("org/model", {"config.json": b"{}", "model.safetensors": b"x" * 100_000})
        common = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "MODELDIST_AGENT_GATEWAY": "127.0.0.1:0"}
        with Cluster(tmp_path / "cluster", 1, environment=common) as cluster:
            path = os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"]))
            environment = {**cluster.environment(0), "PATH": path, "HOME": str(tmp_path)}
            places = {"http://127.0.0.1:7430": gateway_of(cluster.agents[0].log)}
            volume = state / "modeldist-control" / "var" / "lib" / "modeldist"  # of the pod: a control plane that runs
            volume.parent.mkdir(parents=True)
            volume.symlink_to(cluster.home / "control")
            room = checkout(tmp_path / "room")
            assert page.run(PAGE, page.examples(PAGE.read_text()), room, places, environment) == 12
            secrets = kept(state)
            assert set(secrets) == {"modeldist-agent-token", "prometheus-token", "scrapes"}
            assert may_read(f"{cluster.url}/metrics", secrets["prometheus-token"]["token"])
            assert secrets["modeldist-agent-token"]["token"].startswith(b"md_")
    asked = dict(asked_for(Objects(state).all))
    assert set(asked) == {*YOURS, "modeldist-agent-token"}
    assert set(secrets["modeldist-agent-token"]) == {asked["modeldist-agent-token"]}


def kept(state: Path) -> dict[str, dict[str, bytes]]:
    """Secrets, by name and key."""
    return {
        each["metadata"]["name"]: {key: base64.b64decode(value) for key, value in each["data"].items()}
        for each in Objects(state).all
        if each["kind"] == "Secret"
    }


def may_read(url: str, token: bytes) -> bool:
    with urlopen(Request(url, headers={"Authorization": f"Bearer {token.decode()}"}), timeout=30) as answer:
        return int(answer.status) == 200


def asked_for(whole: Sequence[Document]) -> Iterator[tuple[str, str]]:
    """Names of Secrets and ConfigMaps that pods wait for, and the key that is read."""
    for document in whole:
        for volume in document.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", ()):
            for kind, name in (("secret", "secretName"), ("configMap", "name")):
                if kind in volume:
                    yield volume[kind][name], volume[kind]["items"][0]["key"]
