"""Ray Serve: deployments that hold several models each, and get them through the agent of their node."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from modeldist.errors import InvalidReference, Unsupported, UsageError
from modeldist.ray.prefetching import local_path_async

_MODEL_ID = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,127})", re.ASCII)
_PLACE = "{model_id}"

Load = Callable[..., Awaitable[Any]]


def multiplexed(
    reference: str | Callable[[str], str],
    *,
    max_num_models_per_replica: int = 3,
    socket: Path | str | None = None,
) -> Callable[[Load], Callable[..., Any]]:
    """As `ray.serve.multiplexed`; what it wraps is given the model's directory on this node, too:

        @multiplexed("registry.example/org/{model_id}:v1", max_num_models_per_replica=2)
        async def model(self, model_id: str, path: Path) -> Any: ...

    and is called as `await self.model(serve.get_multiplexed_model_id())`. `reference` is what the models are called at
    their origin: text with `{model_id}` in it, or a function. Model ids come with requests, from anybody: only letters,
    digits, `.`, `_` and `-` are put into text (InvalidReference otherwise), while a function decides by itself what it
    lets pass.

    Raises UsageError for text without `{model_id}`, Unsupported without Ray Serve; when called, what `prefetch` raises.
    """
    if isinstance(reference, str) and _PLACE not in reference:
        raise UsageError(f"{reference!r} is the same for every model.", remedy=f"Put {_PLACE} where they differ.")
    serve = _serve()

    def wrap(load: Load) -> Callable[..., Any]:
        async def get(*given: Any) -> Any:
            *myself, model_id = given
            path = await local_path_async(_reference(reference, model_id), socket=socket)
            return await load(*myself, model_id, path)

        # By its name Serve finds out whether it is a method. Not functools.wraps: Serve would see our third argument.
        get.__name__, get.__qualname__, get.__doc__ = load.__name__, load.__qualname__, load.__doc__
        decorated: Callable[..., Any] = serve.multiplexed(max_num_models_per_replica=max_num_models_per_replica)(get)
        return decorated

    return wrap


def _reference(reference: str | Callable[[str], str], model_id: str) -> str:
    if not isinstance(reference, str):
        return reference(model_id)
    if not _MODEL_ID.fullmatch(model_id):
        raise InvalidReference(
            f"{model_id[:100]!r} is no model id here.", remedy="It has letters, digits, '.', '_' and '-' only."
        )
    return reference.replace(_PLACE, model_id)


def _serve() -> Any:
    try:
        from ray import serve
    except ModuleNotFoundError as error:
        raise Unsupported(f"Ray Serve cannot be used here: {error}.", remedy="pip install 'ray[serve]'") from None
    return serve
