"""What an inference engine needs in its environment to find the models that are here, and that in a shell's words.

Engines and libraries look for models through huggingface_hub, which reads `HF_HUB_CACHE` and `HF_HUB_OFFLINE` when it
is imported (huggingface_hub, `constants.py`); the hub directory of a store is laid out for it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

MODEL = "MODELDIST_MODEL"
"""The variable that names a model's directory."""

Syntax = Literal["sh", "fish"]

_PLAIN_IN_FISH = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


def engine_environment(hub: Path, model: Path | None = None, *, offline: bool = False) -> dict[str, str]:
    """Variables by name. `hub`: a directory in the Hugging Face cache layout. `model`: the snapshot in it that is
    meant. `offline`: libraries ask no hub whether there is something newer, and take what is here."""
    variables = {"HF_HUB_CACHE": str(hub)}
    if offline:
        variables["HF_HUB_OFFLINE"] = "1"
    if model is not None:
        variables[MODEL] = str(model)
    return variables


def hub_of(snapshot: Path) -> Path:
    """The hub directory of `<hub>/models--<name>/snapshots/<revision>`."""
    return snapshot.parents[2]


def overriding(environment: Mapping[str, str], variables: Mapping[str, str]) -> str:
    """A sentence where `environment` has what some libraries prefer to `variables`; else nothing."""
    older = environment.get("TRANSFORMERS_CACHE")  # transformers 4, utils/hub.py
    if not older or older == variables["HF_HUB_CACHE"]:
        return ""
    return f"TRANSFORMERS_CACHE is set ({older}), and transformers before 5 looks there instead: unset it."


def exports(variables: Mapping[str, str], syntax: Syntax) -> list[str]:
    """Lines that set and export the variables in a POSIX shell (also bash and zsh) or in fish, whatever characters
    the values have."""
    if syntax == "fish":
        return [f"set -gx {name} {_in_fish(value)}" for name, value in variables.items()]
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def _in_fish(value: str) -> str:
    r"""Quoted for fish, where \ and ' are escaped by \ inside of single quotes (fish: Quotes)."""
    if _PLAIN_IN_FISH.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
