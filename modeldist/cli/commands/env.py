"""`modeldist env`"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.agent.engine_environment import engine_environment, exports, hub_of, overriding
from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import clean, put, put_json, say
from modeldist.errors import NotFound, PullFailed

if TYPE_CHECKING:
    from modeldist.agent.engine_environment import Syntax


@click.command(cls=Command)
@click.argument("reference", metavar="[REF]", required=False)
@click.option("--offline", is_flag=True, help="Have engines ask no hub, and take what is here.")
@click.option(
    "--shell",
    "syntax",
    type=click.Choice(["sh", "fish"]),
    default="sh",
    show_default=True,
    help="Whose words: sh is right for bash and zsh too.",
)
@options.as_json
@options.node_options("registry", "plain_http", "hf_endpoint", "policy", "store", "hub", "socket", "agent")
def env(reference: str | None, offline: bool, syntax: Syntax, as_json: bool, here: Node) -> None:
    """Print what to export so that engines find the models here.

    HF_HUB_CACHE leads whatever is built on huggingface_hub (transformers, vLLM, SGLang) to models pulled from hf://.
    With REF, MODELDIST_MODEL names that model's directory, which any engine takes, wherever it was pulled from. REF
    must be here: nothing is fetched, nobody is asked.

    \b
    Example:
      eval "$(modeldist env --offline)" && vllm serve org/model
      modeldist env --shell fish org/model:tag | source
    """
    model = None if reference is None else _snapshot(here, reference)
    variables = engine_environment(hub_of(model) if model else _hub(here), model, offline=offline)
    if note := overriding(os.environ, variables):
        say(f"modeldist: {clean(note)}")
    if as_json:
        put_json(variables)
    else:
        put("\n".join(exports(variables, syntax)))


def _hub(here: Node) -> Path:
    if (agent := here.running_agent()) is not None:
        return Path(agent.status()["hub"])
    return here.hub or here.store / "hub"


def _snapshot(here: Node, reference: str) -> Path:
    """Raises InvalidReference; NotFound for what is not here, or not all of it."""
    if here.running_agent() is not None:
        from modeldist.cli.pulling import error_of, pulled

        done = pulled(reference, here, offline=True, quiet=True)
        if done.state == "done":
            return Path(done.path)
        if not isinstance(error := error_of(done), PullFailed):
            raise error
    else:
        from modeldist.cli.already_here import already_here
        from modeldist.cli.catalogue import canonical

        canonical(here, reference)  # what is no reference is not to be pulled either
        if (found := already_here(here, reference, offline=True)) is not None:
            return Path(found.path)
    raise NotFound(
        f"{reference} is not on this machine, or not all of it.",
        remedy="`modeldist pull` brings it; `modeldist ls` shows what is here.",
    )
