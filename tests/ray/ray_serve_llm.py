"""The callback of Ray Serve LLM, on Ray's own base class and a real placement group.

vLLM, whose configuration Ray would hand it, needs a GPU: the two members of it that are used stand in its place.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
import ray
from ray.llm._internal.common.callbacks import base
from ray.util.placement_group import placement_group, remove_placement_group

from modeldist.errors import NotFound, Unsupported
from modeldist.ray import PrefetchCallback, serve_llm
from tests.ray.conftest import NODES
from tests.ray.machines import Machines

pytestmark = pytest.mark.usefixtures("raylets")


@dataclass
class Engine:
    """Ray's VLLMEngineConfig (llm/_internal/serve/engines/vllm/vllm_models.py)."""

    actual_hf_model_id: str
    hf_model_id: str | None = None


@dataclass
class Config:
    engine: Engine = field(default_factory=lambda: Engine("org/model"))

    def get_engine_config(self) -> Engine:
        return self.engine


def called(config: Config, group: Any, **options: str) -> base.CallbackCtx:
    """As Ray's vLLM engine does before it starts."""
    callback = PrefetchCallback(llm_config=config, ctx_kwargs={"placement_group": group}, **options)
    asyncio.run(callback.run_callback("on_before_node_init"))
    return callback.ctx


def test_the_engine_starts_from_the_path_on_the_nodes_of_its_replica(machines: Machines, reference: str) -> None:
    group = placement_group([{"CPU": 0.1}] * (NODES - 1), strategy="STRICT_SPREAD")
    ray.get(group.ready())
    try:
        config = Config()
        context = called(config, group, reference=reference)
        assert config.engine.hf_model_id is not None
        assert config.engine.hf_model_id.startswith(str(machines.here))
        assert not context.run_init_node
        holding = [
            index for index in range(NODES) if (machines.home / f"node-{index}" / inside(machines, config)).is_dir()
        ]
        assert len(holding) == NODES - 1
        with pytest.raises(Exception, match=r"PrefetchCallback: On the node .*absent") as raised:
            called(Config(), group, reference=reference.replace("org/", "absent/"))
        assert isinstance(raised.value.__cause__, NotFound)
    finally:
        remove_placement_group(group)


def inside(machines: Machines, config: Config) -> str:
    return str(config.engine.hf_model_id).removeprefix(f"{machines.here}/")


def test_a_directory_is_left_to_the_engine() -> None:
    config = Config(Engine("/models/mine"))
    assert called(config, None).run_init_node
    assert config.engine.hf_model_id is None


def test_a_word_it_does_not_know_is_refused() -> None:
    with pytest.raises(Exception, match="callback_kwargs has referense"):
        called(Config(), None, referense="r")


def test_a_ray_whose_callbacks_are_others_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Other:
        placement_group: Any = None

    monkeypatch.setattr(base, "CallbackCtx", Other)
    with pytest.raises(Unsupported, match=rf"Ray {ray.__version__} have no run_init_node.*2\.60"):
        serve_llm._base()
