"""What can be set by environment variables: of agents and control planes from their settings' own source, of commands
from their help."""

from __future__ import annotations

import inspect
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from deploy.site.commands import panels, whole_program
from modeldist.agent.settings import AgentSettings
from modeldist.control.settings import ServerSettings

_MADE_WHEN_ASKED = {"store": "~/.cache/modeldist", "socket": "of the user", "state_dir": "~/.local/state/modeldist"}

# What no option names, with the file that reads it.
_WITHOUT_AN_OPTION = {
    "HF_TOKEN": "The token for the Hugging Face hub; else what `hf auth login` stored.",
    "MODELDIST_ENGINE_EARLY": "Set by the plugin of SGLang for the processes it starts.",
    "MODELDIST_KEY_PASSWORD": "The password of a private key, of `keygen` and `sign`.",
    "MODELDIST_MODEL": "Set by `env REF`, `pull --exec` and the Ray plugin: the model's directory.",
    "MODELDIST_STREAM": "0: the plugin of SGLang pulls a model before it loads it, instead of loading while it comes.",
    "MODELDIST_VERSIONS": "Set by the launcher of self-updating programs: where their versions are.",
    "MODELDIST_TOKEN": "A token for the control plane; `--token-file` names a file with one instead.",
}


@dataclass(frozen=True)
class Variable:
    name: str
    says: str


@dataclass(frozen=True)
class Setting:
    """One field of the settings. `says` is its description, or the comment at its line."""

    variable: str
    kind: str
    default: str
    says: str


def variables() -> Iterator[Variable]:
    """Those that commands read, by name."""
    found: dict[str, str] = dict(_WITHOUT_AN_OPTION)
    for command in (whole_program(), *(each for panel in panels() for top in panel.commands for each in top.all())):
        for option in command.options:
            for inside in re.findall(r"\[env: ([^\]]+)\]", option.says):
                for name in re.findall(r"\b(?:MODELDIST|HF)_[A-Z_]+\b", inside):
                    found.setdefault(name, f"As the option {option.names.split()[0].rstrip(',')} of `{command.name}`.")
    for name in sorted(found):
        yield Variable(name, found[name])


def settings_of(kind: type[BaseSettings]) -> Iterator[Setting]:
    prefix = kind.model_config.get("env_prefix", "")
    comments = _comments(kind)
    for name, field in kind.model_fields.items():
        default = _MADE_WHEN_ASKED.get(name, "") if field.default_factory else _shown(field.default)
        says = field.description or comments.get(name, "")
        yield Setting(f"{prefix}{name.upper()}", _kind(field.annotation), default, says)


def settings_page() -> str:
    """In Markdown."""
    lines = [
        "# Settings and environment variables",
        "",
        "From the code: [of agents](../../modeldist/agent/settings.py),",
        "[of control planes](../../modeldist/control/settings.py), and of [commands](commands/index.md). An option of",
        "the command line comes before its variable. Lists have commas between their items, labels are JSON; sizes are",
        "bytes and times seconds, unless the text says otherwise.",
        "",
        "## Of every command",
        "",
        "| variable | |",
        "|---|---|",
        *(f"| `{variable.name}` | {_cell(variable.says)} |" for variable in variables()),
        "",
        "What `docker login`, `podman login` and `hf auth login` stored is read too, and `SSL_CERT_FILE`,",
        "`HTTPS_PROXY` and `NO_PROXY` mean what they mean elsewhere.",
    ]
    for title, kind in (("Of an agent", AgentSettings), ("Of a control plane", ServerSettings)):
        lines += ["", f"## {title}", "", "| variable | type | default | |", "|---|---|---|---|"]
        lines += [_row(each) for each in settings_of(kind)]
    return "\n".join(lines) + "\n"


def _row(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default else ""
    return f"| `{setting.variable}` | {_cell(setting.kind)} | {default} | {_cell(setting.says)} |"


def _comments(kind: type[BaseSettings]) -> dict[str, str]:
    """Of the lines `name: type = …  # comment` of the class."""
    found: dict[str, str] = {}
    name = ""
    for token in tokenize.generate_tokens(StringIO(inspect.getsource(kind)).readline):
        if token.type == tokenize.NAME and token.string in kind.model_fields and token.start[1] == 4:
            name = token.string
        elif token.type == tokenize.COMMENT and name and token.line.strip() != token.string:
            found.setdefault(name, token.string.lstrip("# "))
        elif token.type == tokenize.NEWLINE:
            name = ""
    return found


def _kind(annotation: Any) -> str:
    text = annotation.__name__ if inspect.isclass(annotation) else str(annotation)
    for long, short in (
        (r"typing\.Literal\[(.*?)\]", r"\1"),
        (r"typing\.Annotated\[tuple\[.*", "list"),
        (r"tuple\[[^\]]*\]", "list"),
        (r"pathlib\.(\w+\.)*Path|PosixPath", "path"),
        (r"SecretStr", "secret"),
        (r"\bPath\b", "path"),
        (r"\bstr\b", "text"),
        (r"\bint\b", "number"),
        (r"\bfloat\b", "number"),
        (r"\bbool\b", "true or false"),
        (r" \| None", ""),
    ):
        text = re.sub(long, short, text)
    return text.replace("'", "").replace("dict[text, text]", "JSON object")


def _shown(default: object) -> str:
    if isinstance(default, SecretStr) or default is None or default in ((), ""):
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
