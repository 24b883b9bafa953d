"""The loader of `--load-format modeldist`: one of vLLM's own, on the directory that this node's agent has.

Workers on the node of the engine's first process find the model where that pulled it. Those on other nodes have their
own agent pull the very same version, so every worker asks its agent, which pulls once whoever asks. Where the engine
began before the weights were there, the loader below is given them while they come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

from modeldist.agent.local_pull import pulled
from modeldist.engines.early import Early, here
from modeldist.engines.options import Options, read
from modeldist.engines.vllm_interface import Interface
from modeldist.errors import AgentError

WITHOUT_AGENT = (
    "Run `modeldist agent` on this node; where its socket is elsewhere, set MODELDIST_SOCKET or "
    '--model-loader-extra-config \'{"modeldist": {"socket": "/path"}}\'.'
)
STREAMED = ("auto", "hf", "safetensors")
"""vLLM's load formats that read safetensors files by name, one tensor after the other."""

AllWeights = Callable[[Any, Any], Iterator[tuple[str, Any]]]
"""vLLM's get_all_weights: (model_config, model) -> (name, tensor), one after the other."""


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
            self._arriving = None if extra.ours.early is None else _Arriving(self._below, extra.ours, extra.ours.early)

        def download_model(self, model_config: Any) -> None:
            self._below.download_model(self._here(model_config, whole=True))

        def load_weights(self, model: Any, model_config: Any) -> None:
            self._below.load_weights(model, self._here(model_config))

        def load_model(self, vllm_config: Any, model_config: Any, *more: Any, **named: Any) -> Any:
            return self._below.load_model(vllm_config, self._here(model_config), *more, **named)

        def _here(self, model_config: Any, *, whole: bool = False) -> Any:
            if self._arriving is not None:
                return self._arriving.here(model_config, whole=whole)
            return _here(model_config, self._options)

        def __getattr__(self, name: str) -> Any:
            """What vLLM looks for on some loaders, such as get_all_weights."""
            if name.startswith("_"):
                raise AttributeError(name)
            found = getattr(self._below, name)
            if name == "get_all_weights":  # by which weights are loaded again in place
                return lambda model_config, model: found(self._here(model_config), model)
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
    return _with(model_config, path)


def _with(model_config: Any, path: str) -> Any:
    if path == model_config.model:
        return model_config
    local = copy(model_config)
    local.model = path
    return local


class _Arriving:
    """A model whose weights come. `below`, the loader of complete ones, is given them by its `get_all_weights`, which
    is replaced; its own is used once the model is all here, and where it reads more than the model's tensors."""

    def __init__(self, below: Any, options: Options, early: Early) -> None:
        self._below = below
        self._options = options
        self._early = early
        self._local: Early | None = None
        self._given: AllWeights | None = getattr(below, "get_all_weights", None)
        if self._given is not None:
            below.get_all_weights = self._weights

    def here(self, model_config: Any, *, whole: bool) -> Any:
        """The config with this node's directory, of the `whole` model or of what is read before its weights."""
        if model_config.model != self._early.directory:
            return model_config
        self._local = here(self._options.agent(), self._early, without_agent=WITHOUT_AGENT)
        if whole or self._given is None:
            return _with(model_config, self._complete(self._local))
        return _with(model_config, self._local.directory)

    def _weights(self, model_config: Any, model: Any) -> Iterator[tuple[str, Any]]:
        assert self._given is not None
        if (local := self._local) is None or model_config.model != local.directory:
            yield from self._given(model_config, model)
        elif Path(local.complete).is_dir() or not self._suits(model):
            yield from self._given(_with(model_config, self._complete(local)), model)
        else:
            if getattr(self._below, "counter_before_loading_weights", None) == 0.0:  # vLLM logs how long it took
                self._below.counter_before_loading_weights = time.perf_counter()
            from modeldist.engines.arriving_weights import arriving_weights

            yield from arriving_weights(self._options.agent(), local, without_agent=WITHOUT_AGENT)

    def _suits(self, model: Any) -> bool:
        """Whether vLLM would read but the tensors of the model's own files, as they are."""
        strategy = getattr(self._below.load_config, "safetensors_load_strategy", None)
        other_files = getattr(model, "secondary_weights", ()) or getattr(model, "allow_patterns_overrides", None)
        return strategy != "torchao" and not other_files

    def _complete(self, local: Early) -> str:
        """The directory of the model, once it is all here."""
        if Path(local.complete).is_dir():
            return local.complete
        return pulled(self._options.agent(), local.reference, without_agent=WITHOUT_AGENT).path
