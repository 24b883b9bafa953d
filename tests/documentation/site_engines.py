"""Pages about what reads models: engines by a reference, a name and a directory, mounts, tensors that stream in. A
registry and a hub are on loopback, and a control plane with an agent. What stands in for engines takes the plugins and
loads the weights (tests/stand_ins). `make docs` runs this."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from tests.documentation import page
from tests.documentation.session import Session
from tests.integration.mount.mounts import needs_fuse
from tests.servers import engine_commands
from tests.servers.cluster import MODELDIST, Cluster
from tests.servers.hub import Hub
from tests.servers.registry import Registry

np = pytest.importorskip("numpy")

README = Path(__file__).parents[2] / "README.md"
DOCS = README.parent / "docs"
ENGINES, MOUNT, STREAMING = (DOCS / f"{name}.md" for name in ("engines", "mount", "streaming"))
PAGES = [ENGINES, MOUNT, STREAMING]


@dataclass(frozen=True)
class World:
    """Where the pages' names lead to, and what is set in the shell of a node."""

    places: dict[str, str]
    environment: dict[str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("engines")
    with Registry(home / "registry") as registry, Hub() as hub:
        model = publish(home, registry.host)
        hub.commit("org/model", {path.name: path.read_bytes() for path in model.iterdir()})
        common = {"HF_ENDPOINT": hub.url, "MODELDIST_REGISTRY": registry.host, "HOME": str(home)}
        own = {f"MODELDIST_{who}_DEFAULT_REGISTRY": registry.host for who in ("SERVER", "AGENT")}
        with Cluster(home / "cluster", 1, environment=common | own) as cluster:
            environment = cluster.environment(0)
            places = {"registry.example": registry.host, "/run/modeldist/agent.sock": environment["MODELDIST_SOCKET"]}
            yield World(places, environment)


def publish(home: Path, host: str) -> Path:
    """The directory of a model of 22 MB, which is org/model:v1 in the registry."""
    model = home / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama", "torch_dtype": "float32"}')
    weights = np.random.default_rng(7).random((1100, 5000), dtype=np.float32)
    tensors = {"lm_head.weight": weights, "model.norm.weight": np.ones(64, dtype=np.float32)}
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    environment = {**os.environ, "MODELDIST_STORE": str(home / "publisher"), "HOME": str(home)}
    for arguments in (("build", str(model), "-t", f"{host}/org/model:v1"), ("push", f"{host}/org/model:v1")):
        subprocess.run([*MODELDIST, *arguments], env=environment, check=True, capture_output=True)
    return model


@pytest.fixture
def shell(world: World, tmp_path: Path) -> dict[str, str]:
    """With the programs of this environment and the engines on the path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    engine_commands.install(programs)
    path = os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**world.environment, "PATH": path, "NO_COLOR": "1", "COLUMNS": "120"}


def run(path: Path, room: Path, places: dict[str, str], shell: dict[str, str]) -> int:
    room.mkdir()
    return page.run(path, page.examples(path.read_text()), room, places, shell)


def test_engines(world: World, shell: dict[str, str], tmp_path: Path) -> None:
    assert run(ENGINES, tmp_path / "room", world.places, shell) > 10


@needs_fuse
def test_a_mount(world: World, shell: dict[str, str], tmp_path: Path) -> None:
    assert run(MOUNT, tmp_path / "room", {**world.places, "/mnt/model": str(tmp_path / "mounted")}, shell) == 3


@needs_fuse
def test_a_mount_that_is_served_at_once(world: World, shell: dict[str, str], tmp_path: Path) -> None:
    """README.md's."""
    mounted, text = tmp_path / "mounted", page.run_by(README.read_text(), "tests/documentation/site_engines.py")
    with Session(tmp_path, shell) as session:
        try:
            pasted = page.paste(README, page.examples(text), tmp_path, {"/mnt/model": str(mounted)}, session)
        finally:
            session.run(f"modeldist unmount {mounted}")
    assert pasted == 1


def test_tensors_that_stream_in(
    world: World, shell: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an engine in this process, into an empty store."""
    own = {"MODELDIST_STORE": str(tmp_path / "store"), "MODELDIST_SOCKET": str(tmp_path / "none.sock")}
    for name, value in {**shell, **own}.items():
        monkeypatch.setenv(name, value)
    assert run(STREAMING, tmp_path / "room", world.places, shell) == 3
