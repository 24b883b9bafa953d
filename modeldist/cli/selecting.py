"""The options that choose a part of a model, shared by `plan`, `pull` and `preheat`; they become the reference's."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from modeldist.errors import UsageError

Function = Callable[..., Any]

_KINDS = ("weight", "weight.config", "doc", "code", "dataset", "other")
_OPTIONS = (
    click.option(
        "--only", multiple=True, metavar="GLOB", help="Only files like this: '*.json', '**/*.md' (repeatable)."
    ),
    click.option("--exclude", multiple=True, metavar="GLOB", help="No files like this (repeatable)."),
    click.option("--kind", multiple=True, type=click.Choice(_KINDS), help="Only layers of this kind (repeatable)."),
    click.option(
        "--tensor", multiple=True, metavar="GLOB", help="Of weights, only tensors like 'model.layers.0.*' (repeatable)."
    ),
    click.option(
        "--rank",
        multiple=True,
        metavar="SPEC",
        help="Of weights, only what this rank loads: tp=0/4, pp=1/2, ep=3/8 (repeatable, or with commas).",
    ),
    click.option(
        "--weights",
        type=click.Choice(("sharded", "consolidated", "all")),
        help="Which, where a model has the same weights twice. [default: sharded]",
    ),
)


def selecting(command: Function) -> Function:
    """The options; the command's `reference` gets what they select."""

    @wraps(command)
    def selected(
        reference: str,
        only: tuple[str, ...],
        exclude: tuple[str, ...],
        kind: tuple[str, ...],
        tensor: tuple[str, ...],
        rank: tuple[str, ...],
        weights: str | None,
        **rest: Any,
    ) -> Any:
        if only or exclude or kind or tensor or rank or weights:
            reference = _with(reference, only, exclude, kind, tensor, ",".join(rank), weights)
        return command(reference=reference, **rest)

    optioned: Function = selected
    for option in reversed(_OPTIONS):
        optioned = option(optioned)
    return optioned


def _with(
    reference: str,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    kind: tuple[str, ...],
    tensor: tuple[str, ...],
    rank: str,
    weights: str | None,
) -> str:
    from modeldist.origins import selected
    from modelpack.errors import InvalidSelection
    from modelpack.plan.selection import Selection

    try:
        chosen = Selection.of(only=only, exclude=exclude, kinds=kind, tensors=tensor, rank=rank, weights=weights)
    except InvalidSelection as error:
        raise UsageError(error.message, remedy=error.remedy) from error
    return selected.join(reference, str(chosen))
