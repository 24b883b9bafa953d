"""The loader of `--load-format modeldist`: one of vLLM's own, on the directory that this node's agent has.

Workers on the node of the engine's first process find the model where that pulled it. Those on other nodes have their
own agent pull the very same version, so every worker asks its agent, which pulls once whoever asks.
"""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

from modeldist.agent.local_pull import pulled
from modeldist.engines.options import Options, read
from modeldist.engines.vllm_interface import Interface
from modeldist.errors import AgentError

WITHOUT_AGENT = (
    "Run `modeldist agent` on this node; where its socket is elsewhere, set MODELDIST_SOCKET or "
    '--model-loader-extra-config \'{"modeldist": {"socket": "/path"}}\'.'
)


def loader_class(vllm: Interface) -> type[Any]:
    """A BaseModelLoader of this vLLM's."""

    class ModeldistLoader(vllm.base_loader):  # type: ignore[name-defined,misc]  # a class that is looked up
        """Raises UsageError for settings it does not know, and what the pull failed of."""

        def __init__(self, load_config: Any) -> None:
            super().__init__(load_config)
            extra = read(load_config.model_loader_extra_config)
            plain = copy(load_config)
            plain.load_format = extra.ours.load_format
            plain.model_loader_extra_config = extra.others
            self._options = extra.ours
            self._below = vllm.get_model_loader(plain)

        def download_model(self, model_config: Any) -> None:
            self._below.download_model(_here(model_config, self._options))

        def load_weights(self, model: Any, model_config: Any) -> None:
            self._below.load_weights(model, _here(model_config, self._options))

        def load_model(self, vllm_config: Any, model_config: Any, *more: Any, **named: Any) -> Any:
            return self._below.load_model(vllm_config, _here(model_config, self._options), *more, **named)

        def __getattr__(self, name: str) -> Any:
            """What vLLM looks for on some loaders, such as get_all_weights."""
            if name.startswith("_"):
                raise AttributeError(name)
            found = getattr(self._below, name)
            if name == "get_all_weights":  # by which weights are loaded again in place
                return lambda model_config, model: found(_here(model_config, self._options), model)
            return found

    return ModeldistLoader


def _here(model_config: Any, options: Options) -> Any:
    """The config with this node's directory. That of another model, such as one that drafts, stays as it is."""
    if not options.reference or model_config.model != options.directory:
        return model_config
    try:
        path = pulled(options.agent(), options.reference, without_agent=WITHOUT_AGENT).path
    except AgentError:
        if Path(options.directory).is_dir():  # the agent went away since: what it left is complete
            return model_config
        raise
    if path == model_config.model:
        return model_config
    local = copy(model_config)
    local.model = path
    return local
