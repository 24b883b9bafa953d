"""What SGLang calls in each of its processes (entry point group `sglang.srt.plugins`).

SGLang's load formats are a closed list, so a model of ours is told by its name, `modeldist://REF`. A hook of SGLang's
own registry turns that into the directory before the settings are looked at; every process that is started gets them
with it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from modeldist.agent.config import default_socket
from modeldist.agent.local_client import LocalAgent
from modeldist.agent.local_pull import pulled
from modeldist.engines.early import begun
from modeldist.engines.sglang_weights import TARGET, WITHOUT_AGENT, may_stream, tell, told, weights
from modeldist.engines.versions import name_without_colon, with_revision
from modeldist.errors import Unsupported, UsageError

SCHEME = "modeldist://"

_SETTINGS = "sglang.srt.server_args.ServerArgs"
_USED = ("revision", "served_model_name", "tokenizer_path")
_log = logging.getLogger(__name__)


def register() -> None:
    """Once per process. SGLang logs what this raises, and goes on without it."""
    try:
        from sglang.srt.plugins.hook_registry import HookRegistry, HookType
        from sglang.srt.server_args import ServerArgs
    except ImportError as error:
        raise _lacks(f"hooks for plugins ({error})") from error
    # Where settings are looked at: lately on demand, of a msgspec.Struct, whose __post_init__ no hook can reach.
    when = "resolve_once" if hasattr(ServerArgs, "resolve_once") else "__post_init__"
    HookRegistry.register(f"{_SETTINGS}.{when}", _put_here, HookType.BEFORE)
    if told() is not None:  # a process of a server that has begun; it imports the loader anyway
        HookRegistry.register(TARGET, weights, HookType.AROUND)


def _put_here(settings: Any, *_: Any, **__: Any) -> None:
    """Turn the model's name into its directory. Clients of the engine call it by its repository's name."""
    name = str(getattr(settings, "model_path", ""))
    if not name.startswith(SCHEME):
        return
    if missing := [field for field in _USED if not hasattr(settings, field)]:
        raise _lacks(f"{', '.join(missing)} in ServerArgs")
    reference = name.removeprefix(SCHEME)
    if not reference:
        raise UsageError(f"{SCHEME} names no model.", remedy=f"Write --model-path {SCHEME}org/model:tag.")
    path = _directory(settings, with_revision(reference, settings.revision))
    settings.model_path, settings.revision = path, None
    if settings.tokenizer_path == name:
        settings.tokenizer_path = path
    if settings.served_model_name is None:
        settings.served_model_name = name_without_colon(reference)  # SGLang refuses others


def _directory(settings: Any, reference: str) -> str:
    """Of the model or, where its weights can be given to the server's processes while they come, of the rest of it."""
    import sglang.srt

    agent = LocalAgent(default_socket())
    if may_stream(settings, Path(next(iter(sglang.srt.__path__)))):
        early = begun(agent, reference, without_agent=WITHOUT_AGENT)
        if early is not None:
            tell(early)
            return early.directory
    done = pulled(agent, reference, without_agent=WITHOUT_AGENT)
    if done.stale:
        _log.warning("%s", done.stale)
    return done.path


def _lacks(what: str) -> Unsupported:
    import sglang

    return Unsupported(
        f"SGLang {getattr(sglang, '__version__', 'of unknown version')} has no {what}.",
        remedy="Use SGLang 0.5.23, for which this was written, or "
        "`modeldist pull REF --exec sglang serve --model-path {}`.",
    )
