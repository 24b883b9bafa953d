"""Workers that start with their models, by a runtime environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RuntimeEnvSetupError

from tests.ray.machines import Machines
from tests.servers.oci_faults import FaultyRegistry

pytestmark = pytest.mark.usefixtures("raylets")
NAMES = ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "MODELDIST_MODEL")


def seen(wish: Any, **more: Any) -> dict[str, str]:
    """What a worker with this wish has in its environment, and what lies there."""

    def look() -> dict[str, str]:
        found = {name: os.environ[name] for name in NAMES if name in os.environ}
        if "MODELDIST_MODEL" in found:
            found["config"] = (Path(found["MODELDIST_MODEL"]) / "config.json").read_text()
        return found

    task = ray.remote(look).options(num_cpus=0, runtime_env={"modeldist": wish, **more})
    answer: dict[str, str] = ray.get(task.remote())
    return answer


def test_the_model_is_there_before_the_worker(machines: Machines, reference: str) -> None:
    worker = seen(reference)
    assert worker["config"] == "{}"
    assert worker["HF_HUB_CACHE"] == str(machines.here / "store" / "hub")
    assert worker["MODELDIST_MODEL"].startswith(worker["HF_HUB_CACHE"])
    assert "HF_HUB_OFFLINE" not in worker


def test_several_models_have_one_cache(machines: Machines, faulty: FaultyRegistry, reference: str) -> None:
    faulty.add_model("org/second", "v1", {"config.json": b"{}", "model.safetensors": b"x"})
    worker = seen({"models": [reference, f"{faulty.host}/org/second:v1"], "offline": True})
    assert worker == {"HF_HUB_CACHE": str(machines.here / "store" / "hub"), "HF_HUB_OFFLINE": "1"}


def test_what_the_program_sets_itself_counts(reference: str) -> None:
    assert seen(reference, env_vars={"HF_HUB_CACHE": "/mine"})["HF_HUB_CACHE"] == "/mine"


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ([], "names no model"),
        (7, "modeldist.* is wrong"),
        ({"models": ["r"], "nothing": 1}, "unknown field `nothing`"),
    ],
)
def test_a_wrong_wish_is_told(wish: Any, says: str) -> None:
    with pytest.raises(RuntimeEnvSetupError, match=says):
        seen(wish)


def test_what_a_pull_fails_of_is_told(reference: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeEnvSetupError, match="absent"):
        seen(reference.replace("org/", "absent/"))
    with pytest.raises(RuntimeEnvSetupError, match="No agent listens on"):
        seen({"models": [reference], "socket": str(tmp_path / "none.sock")})
