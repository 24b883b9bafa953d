"""The wheel, where there is no checkout: docs/quick-start.md line by line, the manual page, completions, pipx."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documentation import page
from tests.package.conftest import ROOT, Built, lay_out
from tests.servers.hub import Hub

PAGE = ROOT / "docs" / "quick-start.md"
README = ROOT / "README.md"
NAME = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.commit(
            NAME, {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": os.urandom(1_000_000)}
        )
        yield running


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def installed(
    built: Built, hub: Hub, outside: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The quick start, pasted from its first line to its last; the environment with what it installed."""
    room = tmp_path_factory.mktemp("elsewhere")
    (room / "dist").mkdir()
    shutil.copy(built.wheel, room / "dist")
    port = free_port()
    environment = outside | {
        "HF_ENDPOINT": hub.url,
        "MODELDIST_SOCKET": f"{outside['HOME']}/agent.sock",
        "MODELDIST_SERVER_PORT": str(port),
        "MODELDIST_AGENT_CONTROL": f"http://127.0.0.1:{port}",
    }
    lines = page.examples(PAGE.read_text())
    assert page.run(PAGE, lines, room, {"127.0.0.1:7420": f"127.0.0.1:{port}"}, environment) > 20
    return environment | {"PATH": f"{outside['HOME']}/modeldist/bin{os.pathsep}{outside['PATH']}"}


def shell(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        words, env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_quick_start(installed: dict[str, str]) -> None:
    asked = "import modeldist, modelpack, rdma; print(modeldist.__file__, modelpack.__file__, rdma.__file__)"
    for place in shell(installed, f"{installed['HOME']}/modeldist/bin/python", "-c", asked).split():
        assert place.startswith(f"{installed['HOME']}/modeldist/"), "of the wheel, not of the checkout"
    shell(installed, f"{installed['HOME']}/modeldist/bin/pip", "check")


def test_the_quick_start_is_run_whole() -> None:
    assert all(block.mark is None and block.language == "console" for block in page.blocks(PAGE.read_text()))


def test_the_readmes_installation(outside: dict[str, str], tmp_path: Path) -> None:
    """From a checkout, into a home of its own."""
    lay_out(tmp_path / "checkout")
    home = outside | {"HOME": str(tmp_path)}
    lines = page.examples(page.run_by(README.read_text(), "tests/package/package_installed.py"))
    assert page.run(README, lines, tmp_path / "checkout", {}, home) == 3
    assert Path(f"{tmp_path}/modeldist/bin/modeldist").exists()


def test_the_manual_page(installed: dict[str, str]) -> None:
    manual = f"{installed['HOME']}/modeldist/share/man/man1/modeldist.1"
    if shutil.which("groff"):
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-rLL=100n", manual], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "--rank" in done.stdout
    if shutil.which("mandoc"):
        done = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "warning", manual], capture_output=True, text=True, check=False
        )
        assert done.stdout == ""
    if shutil.which("man"):
        shown = shell(installed | {"MANWIDTH": "100"}, "man", "--warnings", "-l", manual)
        assert "EXIT STATUS" in shown
        paths = f"{installed['HOME']}/modeldist/share/man:"
        assert shell(installed | {"MANPATH": paths}, "man", "-w", "modeldist").strip() == manual


def test_bash_completes(installed: dict[str, str]) -> None:
    script = (
        "source <(modeldist completion bash); complete -p modeldist; "
        "COMP_WORDS=(modeldist pu); COMP_CWORD=1; _modeldist_completion modeldist; echo ${COMPREPLY[@]}"
    )
    assert shell(installed, "bash", "-c", script).split()[-2:] == ["pull", "push"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(installed: dict[str, str]) -> None:
    script = (
        "autoload -U compinit; compinit -u -D; source <(modeldist completion zsh); print ${_comps[modeldist]}; "
        "_describe() { print -l ${(P)3}; }; words=(modeldist pu); CURRENT=2; _modeldist_completion"
    )
    lines = shell(installed, "zsh", "-f", "-c", script).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["_modeldist_completion", "pull", "push"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(installed: dict[str, str]) -> None:
    said = shell(
        installed, "fish", "--no-config", "-c", "modeldist completion fish | source; complete -C 'modeldist pu'"
    )
    assert [line.split("\t")[0] for line in said.splitlines()] == ["pull", "push"]


def test_pipx_runs_it(built: Built, outside: dict[str, str]) -> None:
    pipx = outside | {"PIPX_HOME": f"{outside['HOME']}/pipx", "PIPX_DEFAULT_PYTHON": sys.executable}
    said = shell(pipx, sys.executable, "-m", "pipx", "run", "--spec", str(built.wheel), "modeldist", "--version")
    assert said.startswith("modeldist ")


def test_the_program_is_there_as_a_module_too(installed: dict[str, str]) -> None:
    assert Path(f"{installed['HOME']}/modeldist/bin/modeldist").exists()
    python = f"{installed['HOME']}/modeldist/bin/python"
    assert shell(installed, python, "-m", "modeldist", "--version") == shell(installed, "modeldist", "--version")
