"""A model whose engine starts before its weights are here.

Engines read config and tokenizer from a directory first. That is the snapshot of a part of the model: all files but the
weights, which the agent goes on to bring, and which are given to the engine while they come.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from modeldist.agent.local_client import LocalAgent
from modeldist.agent.local_pull import pulled
from modeldist.artifact import Digest
from modeldist.errors import UNDECODABLE, AgentError, ModeldistError
from modeldist.origins import selected
from modeldist.origins.identity import revision_of
from modeldist.origins.plans import PlanView

WITHOUT_WEIGHTS = "exclude=*.safetensors"
"""The selection of what an engine reads before; files in directories stay, as engines look into some of them."""

_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".gguf")
_TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")
_MAX_CONFIG = 4 * 1024 * 1024  # bytes
_MOST_BEFORE = 256 * 1024 * 1024  # bytes, of all that is no weight at the top; where it is more, nothing is gained
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Early(msgspec.Struct, frozen=True, omit_defaults=True):
    """`directory`: what the engine reads before. `reference`: the model, pinned. `complete`: where it will be."""

    directory: str
    reference: str
    complete: str


def begun(agent: LocalAgent, reference: str, *, without_agent: str) -> Early | None:
    """Have the agent bring the model, and return once an engine can start; None where there is nothing to gain, or a
    part would not do: then pull it and see. Raises what pulling the first files fails of."""
    found = _planned(agent, reference)
    if found is None:
        return None
    first = pulled(agent, selected.join(found.resolved, WITHOUT_WEIGHTS), without_agent=without_agent)
    if not _says_dtype(Path(first.path)):
        return None
    agent.start_pull(found.resolved)  # it goes on whatever becomes of this process
    complete = Path(first.path).parent / _revision(found)
    return Early(first.path, found.resolved, str(complete))


def here(agent: LocalAgent, early: Early, *, without_agent: str) -> Early:
    """The same on this node, whose agent has other directories where it is another node than that of `begun`. Raises
    AgentError, and what pulling the first files fails of."""
    try:
        path = pulled(agent, selected.join(early.reference, WITHOUT_WEIGHTS), without_agent=without_agent).path
    except AgentError:
        if Path(early.directory).is_dir():  # the agent went away since: what it left is right
            return early
        raise
    return Early(path, early.reference, str(Path(path).parent / Path(early.complete).name))


def _revision(plan: PlanView) -> str:
    """A hub's own, or that of a digest."""
    named = plan.resolved.rpartition("@")[2]
    return named if _COMMIT.fullmatch(named) else revision_of(Digest(plan.digest))


def _planned(agent: LocalAgent, reference: str) -> PlanView | None:
    """Where the weights are safetensors files at the top, not all here, and nothing but them is left out."""
    try:
        if not agent.running() or selected.split(reference)[1]:
            return None
        plan = agent.plan(reference)
        if plan.selection or any(row["digest"] == plan.digest and row["path"] for row in agent.artifacts()):
            return None
    except ModeldistError:
        return None  # pulling says it, or finds a way: a copy that is here, for one
    top = {file.path for file in plan.files if "/" not in file.path}
    weights = {path for path in top if path.endswith(".safetensors")}
    others = any(path.lower().endswith(_OTHER_WEIGHTS) or path.startswith("consolidated") for path in top)
    raw = all(file.encoding == "raw" for file in plan.files)
    small = sum(file.size for file in plan.files if file.path not in weights) <= _MOST_BEFORE
    usual = "config.json" in top and "modeldist-ranks.json" not in top
    return plan if raw and weights and not others and small and usual else None


def _says_dtype(folder: Path) -> bool:
    """Engines look into the weights for it where config.json does not say it."""
    try:
        raw = (folder / "config.json").read_bytes()
        config = msgspec.json.decode(raw[:_MAX_CONFIG])
    except (OSError, *UNDECODABLE):
        return False
    if not isinstance(config, dict):
        return False
    parts = [config, *(config[key] for key in _TEXT_CONFIGS if isinstance(config.get(key), dict))]
    return any(isinstance(part.get(key), str) for part in parts for key in ("dtype", "torch_dtype"))
