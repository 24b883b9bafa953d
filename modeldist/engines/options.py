"""What `--model-loader-extra-config` says of this loader, under the key "modeldist"; the rest is for the loader below.

{"modeldist": {"load_format": "safetensors", "socket": "/run/modeldist/agent.sock"}, "enable_multithread_load": true}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from modeldist.agent.config import default_socket
from modeldist.agent.local_client import LocalAgent
from modeldist.engines.early import Early
from modeldist.errors import UsageError

KEY = "modeldist"


class Options(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """`load_format`: of vLLM's own, by which the directory is read. `socket`: of the node's agent, else where that is
    by default. `stream`: whether weights are loaded while they come. `reference` and `directory`, or `early`: what the
    engine's first process got, for its workers; users leave these."""

    load_format: str = "auto"
    socket: str | None = None
    reference: str = ""
    directory: str = ""
    stream: bool = True
    early: Early | None = None

    def agent(self) -> LocalAgent:
        return LocalAgent(Path(self.socket) if self.socket else default_socket())


class ExtraConfig(msgspec.Struct, frozen=True):
    """Both halves of the setting."""

    ours: Options
    others: dict[str, Any]

    def words(self) -> dict[str, Any]:
        return {**self.others, KEY: msgspec.to_builtins(self.ours)}


def read(extra_config: Any) -> ExtraConfig:
    """Of the value that the engine has. Raises UsageError."""
    given = extra_config or {}
    if not isinstance(given, dict):
        raise UsageError(
            f"model_loader_extra_config is {type(given).__name__}, no JSON object.",
            remedy=f'Write it as {{"{KEY}": {{"socket": "/path"}}}}, or leave it out.',
        )
    others = {key: value for key, value in given.items() if key != KEY}
    try:
        ours = msgspec.convert(given.get(KEY, {}), Options)
    except msgspec.ValidationError as error:
        raise UsageError(
            f'"{KEY}" in model_loader_extra_config: {error}.', remedy='It takes "socket", "load_format" and "stream".'
        ) from error
    if ours.load_format.lower() == KEY:
        raise UsageError(
            f'"load_format" in "{KEY}" of model_loader_extra_config is {KEY} itself.',
            remedy="Give one of vLLM's own, such as safetensors, or leave it out.",
        )
    return ExtraConfig(ours, others)
