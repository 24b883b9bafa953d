"""sglang/srt/plugins/hook_registry.py: of its kinds of hooks those before and around a call."""

import functools
import pkgutil
from collections.abc import Callable
from enum import Enum
from typing import Any


class HookType(Enum):
    BEFORE = "before"
    AFTER = "after"
    AROUND = "around"
    REPLACE = "replace"


class HookRegistry:
    _hooks: list[tuple[str, Callable[..., Any], HookType]] = []  # noqa: RUF012

    @classmethod
    def register(
        cls, target: str, hook: Callable[..., Any], hook_type: HookType = HookType.AFTER, *, source: Any = None
    ) -> None:
        if hook_type not in _WRAPPERS:
            raise NotImplementedError(hook_type)
        cls._hooks.append((target, hook, hook_type))

    @classmethod
    def apply_hooks(cls) -> None:
        for target, hook, hook_type in cls._hooks:
            owner, _, name = target.rpartition(".")
            place = pkgutil.resolve_name(owner)
            setattr(place, name, _WRAPPERS[hook_type](getattr(place, name), hook))


def _before(original: Callable[..., Any], hook: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = hook(*args, **kwargs)
        if result is not None:
            args, kwargs = result
        return original(*args, **kwargs)

    return wrapper


def _around(original: Callable[..., Any], hook: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return hook(original, *args, **kwargs)

    return wrapper


_WRAPPERS = {HookType.BEFORE: _before, HookType.AROUND: _around}
