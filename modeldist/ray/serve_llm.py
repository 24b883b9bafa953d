"""Ray Serve LLM: a replica's engine starts from the directory where its nodes have the model.

    LLMConfig(
        model_loading_config={"model_id": "chat", "model_source": "org/model"},
        callback_config={
            "callback_class": "modeldist.ray.PrefetchCallback",
            "callback_kwargs": {"reference": "registry.example/org/model:v1"},
        },
    )

Ray documents these callbacks and keeps their class in a private module, so what is used of it is looked at first. Ray
calls them for vLLM only, once per replica (`vllm_engine.py`, `start`); nodes are asked once all the same.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from modeldist.errors import Unsupported, UsageError
from modeldist.ray.cluster import not_installed
from modeldist.ray.prefetching import prefetch_async

_USED = {"placement_group", "run_init_node"}  # of the context


def _base() -> type[Any]:
    """Ray's class. Raises Unsupported where it is not there, or is not what it was."""
    try:
        import ray
    except ModuleNotFoundError:
        raise not_installed() from None
    remedy = "Use Ray 2.60, with which this was written, or call `modeldist.ray.prefetch` and give its path to vLLM."
    try:
        from ray.llm._internal.common.callbacks.base import CallbackBase, CallbackCtx
    except ImportError as error:
        raise Unsupported(f"Ray {ray.__version__} has no callbacks of Serve LLM: {error}.", remedy=remedy) from error
    missing = _USED - {field.name for field in fields(CallbackCtx)}
    if missing or not hasattr(CallbackBase, "on_before_node_init"):
        what = ", ".join(sorted(missing)) or "on_before_node_init"
        raise Unsupported(f"The callbacks of Serve LLM in Ray {ray.__version__} have no {what}.", remedy=remedy)
    return CallbackBase  # type: ignore[no-any-return]


class PrefetchCallback(_base()):  # type: ignore[misc]  # a class that is looked up
    """`callback_kwargs`: `reference`, else the model_source, of Hugging Face; `socket` of the nodes' agents, else
    MODELDIST_SOCKET of the raylets or the default. Raises UsageError for others, and what `prefetch` raises."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if unknown := set(self.kwargs) - {"reference", "socket"}:
            raise UsageError(
                f"callback_kwargs has {', '.join(sorted(unknown))}.", remedy="It takes reference and socket."
            )

    async def on_before_node_init(self) -> None:
        """Put the model onto the nodes of this replica, point the engine to it, and have Ray download nothing."""
        engine = self.llm_config.get_engine_config()
        reference = self.kwargs.get("reference") or _of_the_hub(engine.actual_hf_model_id)
        if reference is None:  # a directory, which is there or is not
            return
        nodes = _nodes(self.ctx.placement_group)
        (found,) = await prefetch_async(reference, nodes, socket=self.kwargs.get("socket"))
        engine.hf_model_id = str(found.path)
        self.ctx.run_init_node = False


def _of_the_hub(model_source: str) -> str | None:
    if Path(model_source).is_absolute():
        return None
    return model_source if "://" in model_source else f"hf://{model_source}"


def _nodes(placement_group: Any) -> list[str]:
    """Ray's ids of those on which the replica's workers will run."""
    from ray.util import placement_group_table

    return sorted(set(placement_group_table(placement_group)["bundles_to_node_id"].values()))
