"""What a command line and an environment come to, by the product's own parser: nothing runs, all else is real."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click import Context
from click.testing import CliRunner

from modeldist.agent import daemon
from modeldist.agent.settings import AgentSettings
from modeldist.cli.main import program
from modeldist.control import server
from modeldist.control.settings import ServerSettings

_OURS = ("MODELDIST_SERVER_", "MODELDIST_AGENT_")
_SETTINGS: dict[str, Any] = {_OURS[0]: ServerSettings, _OURS[1]: AgentSettings}
OTHERS = {  # what else the product, or what it is built on, looks at
    "DOCKER_CONFIG",
    "HF_ENDPOINT",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "MODELDIST_SOCKET",
    "MODELDIST_STORE",
    "MODELSCOPE_API_TOKEN",
    "SSL_CERT_FILE",
}


def settings_of(words: Sequence[str], environment: Mapping[str, str]) -> ServerSettings | AgentSettings:
    """Of `modeldist server` or `modeldist agent`. Fails the test where the program would not start."""
    told: list[Any] = []

    async def run_agent(settings: AgentSettings, gateway: object = None) -> None:
        told.append(settings)

    assert words[0].rpartition("/")[2] == "modeldist", words
    with pytest.MonkeyPatch.context() as patch:
        for name in [*_ambient()]:
            patch.delenv(name, raising=False)
        patch.setattr(server, "serve", told.append)
        patch.setattr(daemon, "run_agent", run_agent)
        patch.setattr("modeldist.control.logs.configure_logging", lambda *_: None)
        done = CliRunner().invoke(program, list(words[1:]), env=dict(environment))
    assert done.exit_code == 0, done.output + "".join(traceback.format_exception(done.exception))
    (settings,) = told
    assert isinstance(settings, ServerSettings | AgentSettings)
    return settings


def check_command(words: Sequence[str]) -> Context:
    """Parse any command of the program as it would be run, and leave it there."""
    assert words[0].rpartition("/")[2] == "modeldist", words
    group, rest = program, list(words[1:])
    context = Context(program, info_name="modeldist")
    while True:
        command = group.get_command(context, rest[0])
        assert command is not None, f"no command {rest[0]}"
        rest = rest[1:]
        if not hasattr(command, "get_command"):
            return command.make_context(command.name, rest, parent=context)
        group = command


def check_names(environment: Mapping[str, str]) -> None:
    """That each variable is one of a setting, or one that is looked at."""
    for name in environment:
        for prefix, settings in _SETTINGS.items():
            if name.startswith(prefix):
                assert name.removeprefix(prefix).lower() in settings.model_fields, name
                break
        else:
            assert name in OTHERS or not name.startswith(("MODELDIST", "HF_", "MODELSCOPE")), name


def substituted(text: str, values: Mapping[str, str], form: str) -> str:
    """`text` with its variables: `$(NAME)` of Kubernetes, `${NAME:-default}` of compose, `${NAME}` of systemd."""
    pattern = {"kubernetes": r"\$\((\w+)\)", "braces": r"\$\{(\w+)(?::([-?])([^}]*))?\}"}[form]

    def value(found: re.Match[str]) -> str:
        if found[1] in values:
            return values[found[1]]
        assert form == "braces" and found[2] == "-", f"{found[0]} has no value"
        return found[3]

    return re.sub(pattern, value, text)


def token_file(folder: Path) -> Path:
    path = folder / "token"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"md_{'0' * 16}_{'0' * 64}\n")
    return path


def _ambient() -> list[str]:
    import os

    return [name for name in os.environ if name.startswith(("MODELDIST_", "HF_"))]
