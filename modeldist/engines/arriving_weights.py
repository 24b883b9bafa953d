"""The weights of a model for an engine, while the agent brings them: `(name, tensor)` in the engine's own order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modeldist.agent.local_client import LocalAgent
from modeldist.arriving.by_agent import AgentFeed
from modeldist.arriving.model import ArrivingModel
from modeldist.engines.early import Early
from modeldist.errors import AgentError
from modeldist.streaming.framework import framework
from modeldist.streaming.tensor_stream import TensorStream
from modeldist.streaming.weights import Weights

_INDEX = "model.safetensors.index.json"


def arriving_weights(agent: LocalAgent, early: Early, *, without_agent: str) -> Iterator[tuple[str, Any]]:
    """File by file as their names are counted, and in each by name: the order in which engines read complete files, so
    that layers come together. torch's tensors on the CPU, or numpy's arrays where there is no torch.

    Raises AgentError (with `without_agent`, what to do) where no agent listens, and what the pull fails of, in the
    middle too: what came until then is to be thrown away."""
    if not agent.running():
        raise AgentError(f"No agent listens on {agent.path}, and the weights are not here.", remedy=without_agent)
    model = ArrivingModel(AgentFeed(agent, early.reference), early.reference)
    with model:
        weights = Weights(model, _indexed(Path(early.directory)))
        yield from TensorStream(model, weights, framework(None, None), by_name=True)


def _indexed(folder: Path) -> frozenset[str] | None:
    """Files that the model's own index names; others are the same weights again. None: there is no index."""
    try:
        weight_map = json.loads((folder / _INDEX).read_bytes())["weight_map"]
        return frozenset(map(str, weight_map.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
