"""A plugin of Ray's runtime environments: models are on the node before a worker starts there.

Ray is told of it before `ray start`, on every node:

    RAY_RUNTIME_ENV_PLUGINS='[{"class": "modeldist.ray.EnvPlugin"}]'

and programs say `runtime_env={"modeldist": "org/model:v1"}`. It runs in Ray's runtime-env agent, one per node, which is
no worker: there are no actors, so the agent of the node is asked directly.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from ray._private.runtime_env.plugin import RuntimeEnvPlugin

from modeldist.agent.config import default_socket
from modeldist.agent.engine_environment import engine_environment, hub_of
from modeldist.agent.local_client import LocalAgent
from modeldist.ray.pulling import pulled


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`models`: references. `offline`: libraries ask no hub for anything newer. `socket`: of the node's agent, else
    MODELDIST_SOCKET of the raylet or the default."""

    models: tuple[str, ...]
    offline: bool = False
    socket: str = ""


class EnvPlugin(RuntimeEnvPlugin):  # type: ignore[misc]  # without Ray it is no class
    """Sets HF_HUB_CACHE, and with one model MODELDIST_MODEL, its directory, for the worker. What the program sets
    itself in `env_vars` counts."""

    name = "modeldist"

    @staticmethod
    def validate(runtime_env_dict: Mapping[str, Any]) -> None:
        """Raises ValueError."""
        wish_of(runtime_env_dict[EnvPlugin.name])

    async def create(
        self, uri: str | None, runtime_env: Mapping[str, Any], context: Any, logger: logging.Logger
    ) -> float:
        """Pull what is wished for. Raises ValueError, and what a pull fails of, for Ray to show it to the program."""
        wish = wish_of(runtime_env[self.name])
        agent = LocalAgent(Path(wish.socket) if wish.socket else default_socket())
        logger.info("modeldist: %s", ", ".join(wish.models))
        done = await asyncio.gather(*(asyncio.to_thread(pulled, agent, reference) for reference in wish.models))
        paths = [Path(each.path) for each in done]
        variables = engine_environment(hub_of(paths[0]), paths[0] if len(paths) == 1 else None, offline=wish.offline)
        for name, value in variables.items():
            context.env_vars.setdefault(name, value)
        return 0.0  # of Ray's disk


def wish_of(given: Any) -> Wish:
    """Of a reference, a list of them, or the fields of a Wish. Raises ValueError."""
    fields = given if isinstance(given, Mapping) else {"models": [given] if isinstance(given, str) else given}
    try:
        wish = msgspec.convert(fields, Wish)
    except msgspec.ValidationError as error:
        raise ValueError(f'runtime_env["modeldist"] is wrong: {error}.') from None
    if not wish.models:
        raise ValueError('runtime_env["modeldist"] names no model.')
    return wish
