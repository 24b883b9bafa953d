"""What is used of vLLM, looked at before it is used, as a plugin meets whatever version is installed.

vllm.engine.arg_utils.EngineArgs           create_engine_config and some fields
vllm.model_executor.model_loader           BaseModelLoader, get_model_loader, register_model_loader
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from modeldist.errors import Unsupported

_FIELDS = {"load_format", "model", "model_loader_extra_config", "revision", "served_model_name", "tokenizer"}
_METHODS = ("download_model", "load_model", "load_weights")
_REMEDY = "Use vLLM 0.33, for which this was written, or `modeldist pull REF --exec vllm serve {}`."


@dataclass(frozen=True)
class Interface:
    """The members."""

    base_loader: type[Any]
    get_model_loader: Callable[[Any], Any]
    register_model_loader: Callable[[str], Callable[[type[Any]], type[Any]]]


def engine_args() -> type[Any]:
    """The class of an engine's settings. Raises Unsupported without the method by which it makes them a config."""
    try:
        from vllm.engine.arg_utils import EngineArgs
    except ImportError as error:
        raise _lacks(f"EngineArgs ({error})") from error
    if not callable(getattr(EngineArgs, "create_engine_config", None)):
        raise _lacks("EngineArgs.create_engine_config")
    return EngineArgs  # type: ignore[no-any-return]


def interface() -> Interface:
    """Raises Unsupported, which names what this vLLM has not."""
    if missing := _FIELDS - {field.name for field in fields(engine_args())}:
        raise _lacks(f"{', '.join(sorted(missing))} in EngineArgs")
    try:
        from vllm.model_executor.model_loader import BaseModelLoader, get_model_loader, register_model_loader
    except ImportError as error:
        raise _lacks(f"model loaders that a plugin may register ({error})") from error
    if missing := {name for name in _METHODS if not callable(getattr(BaseModelLoader, name, None))}:
        raise _lacks(f"{', '.join(sorted(missing))} in BaseModelLoader")
    return Interface(BaseModelLoader, get_model_loader, register_model_loader)


def _lacks(what: str) -> Unsupported:
    import vllm

    return Unsupported(f"vLLM {getattr(vllm, '__version__', 'of unknown version')} has no {what}.", remedy=_REMEDY)
