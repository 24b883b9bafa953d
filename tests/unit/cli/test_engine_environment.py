"""What `modeldist env` prints, read back by the shells it is meant for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from modeldist.agent.engine_environment import engine_environment, exports, hub_of, overriding

ODD = Path('/it\'s $HOME `odd` "one"\\\n;&')


def test_it_leads_libraries_to_the_hub() -> None:
    assert engine_environment(Path("/store/hub")) == {"HF_HUB_CACHE": "/store/hub"}
    snapshot = Path("/store/hub/models--org--model/snapshots/0123")
    assert hub_of(snapshot) == Path("/store/hub")
    assert engine_environment(hub_of(snapshot), snapshot, offline=True) == {
        "HF_HUB_CACHE": "/store/hub",
        "HF_HUB_OFFLINE": "1",
        "MODELDIST_MODEL": str(snapshot),
    }


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_gets_any_path_as_it_is(shell: str) -> None:
    script = "\n".join(exports(engine_environment(ODD), "sh")) + "\nprintenv HF_HUB_CACHE"
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{ODD}\n"


def test_fish_gets_its_own_words() -> None:
    assert exports(engine_environment(Path("/store/hub"), offline=True), "fish") == [
        "set -gx HF_HUB_CACHE /store/hub",
        "set -gx HF_HUB_OFFLINE 1",
    ]
    (line,) = exports({"HF_HUB_CACHE": r"/it's $HOME\x"}, "fish")
    assert line == r"set -gx HF_HUB_CACHE '/it\'s $HOME\\x'"


def test_an_older_variable_that_wins_is_told_of() -> None:
    variables = engine_environment(Path("/store/hub"))
    assert "TRANSFORMERS_CACHE" in overriding({"TRANSFORMERS_CACHE": "/elsewhere"}, variables)
    assert overriding({"TRANSFORMERS_CACHE": "/store/hub"}, variables) == ""
    assert overriding({}, variables) == ""
