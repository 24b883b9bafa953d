"""Weights for SGLang while they come, in the processes that load them.

SGLang starts these with the settings of the server, whose model is a directory without weights, and with its
environment, which says of what model. A hook of SGLang's registry around `DefaultModelLoader._get_weights_iterator`
gives them the tensors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from modeldist.agent.config import default_socket
from modeldist.agent.local_client import LocalAgent
from modeldist.agent.local_pull import pulled
from modeldist.engines.early import Early

TOLD = "MODELDIST_ENGINE_EARLY"
"""The environment variable by which a server tells its processes; users leave it."""

TARGET = "sglang.srt.model_loader.loader.DefaultModelLoader._get_weights_iterator"
WITHOUT_AGENT = "Run `modeldist agent` on this node; where its socket is elsewhere, set MODELDIST_SOCKET."

_OFF = "MODELDIST_STREAM"
_FORMATS = ("auto", "safetensors")


def may_stream(settings: Any, srt: Path) -> bool:
    """Whether a server of these ServerArgs would take weights as they come. `srt`: the package's directory; the loader
    is looked at without importing it, which the first process of a server does not do this early."""
    if os.environ.get(_OFF, "") == "0" or getattr(settings, "quantization", None):
        return False
    if str(getattr(settings, "load_format", "auto")).lower() not in _FORMATS:
        return False
    try:
        return "def _get_weights_iterator(" in (srt / "model_loader" / "loader.py").read_text()
    except OSError:
        return False


def tell(early: Early) -> None:
    """Processes that are started from now on."""
    os.environ[TOLD] = msgspec.json.encode(early).decode()


def told() -> Early | None:
    """What the server's first process told this one."""
    text = os.environ.get(TOLD, "")
    return msgspec.json.decode(text, type=Early) if text else None


def weights(original: Callable[..., Any], loader: Any, source: Any, *more: Any, **named: Any) -> Any:
    """The hook. `source` is SGLang's: `model_or_path`, a directory here, and a `prefix` of names."""
    early = told()
    if early is None or source.model_or_path != early.directory:
        return original(loader, source, *more, **named)
    agent = LocalAgent(default_socket())
    if Path(early.complete).is_dir() or getattr(loader.load_config, "draft_model_idx", None) is not None:
        path = early.complete
        if not Path(path).is_dir():
            path = pulled(agent, early.reference, without_agent=WITHOUT_AGENT).path
        return original(loader, replace(source, model_or_path=path), *more, **named)
    return _prefixed(source.prefix, agent, early)


def _prefixed(prefix: str, agent: LocalAgent, early: Early) -> Iterator[tuple[str, Any]]:
    from modeldist.engines.arriving_weights import arriving_weights

    for name, tensor in arriving_weights(agent, early, without_agent=WITHOUT_AGENT):
        yield prefix + name, tensor
