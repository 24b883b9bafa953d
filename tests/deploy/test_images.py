"""The Dockerfile, as far as it can be known without building it."""

from __future__ import annotations

import fnmatch
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modeldist.agent.settings import AgentSettings
from modeldist.control.settings import DEFAULT_PORT, ServerSettings
from tests.deploy import told
from tests.deploy.images import DOCKERFILE, IMAGES, ROOT
from tests.servers.control_plane import served_control_plane
from tests.servers.memory_origin import MemoryOrigin

FINAL = ("control", "agent", "agent-rdma")
final = pytest.mark.parametrize("name", FINAL)


def test_stages() -> None:
    assert list(IMAGES) == ["build", "base", *FINAL]
    assert {IMAGES[name].base for name in ("build", "base")} == {"${BASE}"}
    assert {name: IMAGES[name].base for name in FINAL} == {"control": "base", "agent": "base", "agent-rdma": "agent"}


@final
def test_an_image_is_of_a_user_without_rights_and_looks_after_itself(name: str) -> None:
    image = IMAGES[name]
    assert image.user == "17420:17420"
    assert image.entrypoint == ("modeldist",)
    assert image.health
    assert any("useradd --uid 17420 --gid 17420" in line for line in image.ran)


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_copied_is_there_and_not_ignored(name: str) -> None:
    ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().split()
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    for sources, stage in IMAGES[name].copied:
        assert not stage or stage in IMAGES
        for source in () if stage else sources:
            assert (ROOT / source).exists(), source
            assert any(fnmatch.fnmatch(source, each) for each in kept), f"{source} is kept out by the ignore file"


@final
def test_no_tool_that_builds_is_left_in_an_image(name: str) -> None:
    installed = " ".join(line for line in IMAGES[name].ran if "apt-get install" in line)
    for tool in ("binutils", "gcc", "python3-venv", "git", "curl"):
        assert tool not in installed
    assert all("rm -rf /var/lib/apt/lists" in line for line in IMAGES[name].ran if "apt-get" in line)


def test_the_dependencies_that_are_installed_are_the_project_s(tmp_path: Path) -> None:
    """The line that reads pyproject.toml, as it is run."""
    (line,) = [line for line in IMAGES["build"].ran if "requirements.txt" in line]
    script = line.split("python -c '")[1].split("'")[0].replace("\\\n", "")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = done.stdout.split("\n")
    assert any(each.startswith("asyncpg") for each in wanted)
    assert any(each.startswith("fastapi") for each in wanted)
    assert any(each.startswith("opentelemetry-exporter-otlp-proto-http") for each in wanted)
    assert not any(each.startswith("pytest") for each in wanted)


def test_what_images_run(tmp_path: Path) -> None:
    control, agent = IMAGES["control"], IMAGES["agent"]
    told.check_names(control.environment)
    told.check_names(agent.environment)
    server = told.settings_of((*control.entrypoint, *control.command), control.environment)
    assert isinstance(server, ServerSettings)
    assert control.exposed == (server.port,) == (DEFAULT_PORT,)
    assert control.volumes == (str(server.state_dir),)
    token = {"MODELDIST_AGENT_TOKEN_FILE": str(told.token_file(tmp_path))}
    node = told.settings_of((*agent.entrypoint, *agent.command), {**agent.environment, **token})
    assert isinstance(node, AgentSettings)
    assert agent.volumes == (str(node.store),)
    assert str(node.socket) == str(told.check_command(agent.health).params["socket"])


async def test_the_health_check_of_the_control_plane(tmp_path: Path) -> None:
    script = next(sources[0] for sources, _ in IMAGES["control"].copied if sources[0].endswith(".py"))
    assert Path(IMAGES["control"].health[1]).name == Path(script).name

    async def check(port: int) -> int:
        import asyncio

        environment = {**os.environ, "MODELDIST_SERVER_PORT": str(port)}
        process = await asyncio.create_subprocess_exec(sys.executable, ROOT / script, env=environment)
        return await process.wait()

    async with served_control_plane(tmp_path, MemoryOrigin()) as plane:
        port = int(plane.url.rpartition(":")[2])
        assert await check(port) == 0
    assert await check(port) == 1
