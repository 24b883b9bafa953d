"""The pages that users read first, pasted into a shell from top to bottom: a registry, a mirror and a hub are on
loopback, and a control plane with two agents. `make docs` runs this."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documentation import page
from tests.documentation.world import World, room_of, shell
from tests.servers.cluster import Cluster

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ALONE = [ROOT / "README.md", *(DOCS / f"{name}.md" for name in ("delta", "optimize", "scheduling", "trust"))]
CLUSTERED = [DOCS / "rest.md"]
PAGES = [*ALONE, *CLUSTERED]
# Sections of README.md that site_cluster_pages.py runs.
CLUSTERS = ("Cluster", "Drop-in: programs that know only Hugging Face, or registries")


@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_a_page(path: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment, room = shell(tmp_path / "home", world), room_of(tmp_path)
    monkeypatch.chdir(room)
    for name in ("HOME", "MODELDIST_STORE", "MODELDIST_SOCKET", "MODELDIST_REGISTRY"):  # of Python in a page
        monkeypatch.setenv(name, environment[name])
    assert page.run(path, page.examples(page.but(path.read_text(), *CLUSTERS)), room, world.places, environment) > 0


def test_the_api_with_curl(world: World, tmp_path: Path) -> None:
    """docs/rest.md"""
    with Cluster(tmp_path / "cluster", 2, environment={"MODELDIST_AGENT_NAME": ""}) as cluster:
        environment, room = shell(tmp_path / "home", world), room_of(tmp_path)
        places = world.places | {
            "http://127.0.0.1:7420": cluster.url,
            "$(cat ~/.local/state/modeldist/admin.token)": cluster.token("admin"),
            "org/model:v1": f"{world.places['registry.example']}/org/model:v1",
            "https://harbor.example/v2/library/model": f"http://{world.places['registry.example']}/v2/org/model",
        }
        path = DOCS / "rest.md"
        assert page.run(path, page.examples(path.read_text()), room, places, environment) > 5
