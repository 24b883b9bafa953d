"""What vLLM calls in each of its processes (entry point group `vllm.general_plugins`).

It adds a load format, and has engines of that format start from the directory of their model: vLLM reads config and
tokenizer by the model's name before there is a loader. Engines of other formats are left alone, also by a vLLM that
lacks what is used here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec

from modeldist.agent.local_pull import pulled
from modeldist.engines.early import Early, begun
from modeldist.engines.options import Options, read
from modeldist.engines.versions import with_revision
from modeldist.engines.vllm_interface import engine_args, interface
from modeldist.engines.vllm_loader import STREAMED, WITHOUT_AGENT, loader_class
from modeldist.errors import Unsupported

FORMAT = "modeldist"

_MARK = "_of_modeldist"
_log = logging.getLogger(__name__)
_pulled: dict[str, str | Early] = {}  # by directory: the version that is there, or of which a part is


def register() -> None:
    """Once or more often per process. Never raises: whoever does not ask for this format is not to notice it."""
    try:
        arguments = engine_args()
    except Unsupported as error:
        _log.warning("--load-format %s is not available. %s", FORMAT, error)
        return
    if hasattr(arguments.create_engine_config, _MARK):
        return
    try:
        found = interface()
    except Unsupported as error:
        change = _refusing(error)
    else:
        found.register_model_loader(FORMAT)(loader_class(found))
        change = _resolving
    arguments.create_engine_config = _where_asked(arguments.create_engine_config, change)


def _where_asked(original: Callable[..., Any], change: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def create_engine_config(self: Any, *arguments: Any, **named: Any) -> Any:
        if str(getattr(self, "load_format", "")).lower() != FORMAT:
            return original(self, *arguments, **named)
        return change(self, lambda: original(self, *arguments, **named))

    setattr(create_engine_config, _MARK, True)
    return create_engine_config


def _refusing(error: Unsupported) -> Callable[..., Any]:
    def refuse(_: Any, __: Callable[[], Any]) -> Any:
        raise error

    return refuse


def _resolving(settings: Any, create: Callable[[], Any]) -> Any:
    """The engine's config, made of the model's directory, which says which version workers are to load."""
    ours = read(settings.model_loader_extra_config).ours
    _put_here(settings, ours)
    config = create()
    got = _pulled.get(settings.model)
    if got is not None and str(config.load_config.load_format).lower() == FORMAT:
        extra = read(config.load_config.model_loader_extra_config)
        if isinstance(got, Early):
            told = msgspec.structs.replace(extra.ours, early=got)
        else:
            told = msgspec.structs.replace(extra.ours, reference=got, directory=settings.model)
        config.load_config.model_loader_extra_config = msgspec.structs.replace(extra, ours=told).words()
    return config


def _put_here(settings: Any, ours: Options) -> None:
    """Turn the model's name into its directory. Clients of the engine call it by the name all the same."""
    name = settings.model
    if Path(name).is_dir():
        return
    agent, reference = ours.agent(), with_revision(name, settings.revision)
    early = None
    if ours.stream and ours.load_format.lower() in STREAMED:
        early = begun(agent, reference, without_agent=WITHOUT_AGENT)
    if early is not None:
        path = early.directory
        _pulled[path] = early
    else:
        done = pulled(agent, reference, without_agent=WITHOUT_AGENT)
        if done.stale:
            _log.warning("%s", done.stale)
        path = done.path
        _pulled[path] = done.resolved
    settings.model, settings.revision = path, None
    if settings.tokenizer == name:
        settings.tokenizer = path
    if not settings.served_model_name:
        settings.served_model_name = [name]
