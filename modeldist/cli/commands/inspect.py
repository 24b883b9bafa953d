"""`modeldist inspect`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from modeldist.cli import options
from modeldist.cli.terminal import clean, put, put_json


def inspect(
    target: Annotated[
        str, typer.Argument(metavar="REF|DIR|LAYOUT", help="A reference, a directory with a model, or an OCI layout.")
    ],
    raw: Annotated[bool, typer.Option("--raw", help="Print the manifest, byte for byte.")] = False,
    layout: Annotated[
        Path | None,
        typer.Option(metavar="LAYOUT", help="Look for the reference in this OCI layout, not in its registry."),
    ] = None,
    registry: options.DefaultRegistry = None,
    plain_http: options.PlainHttp = None,
    hf_endpoint: options.HfEndpoint = None,
    as_json: options.Json = False,
) -> None:
    """Show what a model is, without fetching its weights.

    Digest, format, files, configuration, and how it departs from the specification.

    What exists as a directory is taken as one; write the registry in front to mean a reference of the same name.

    \b
    Example:
      modeldist inspect registry.example/org/model:v1
    """
    from modeldist.cli.inspection import lines, look
    from modeldist.cli.node import node

    where = node(registry=registry, plain_http=plain_http, hf_endpoint=hf_endpoint)
    found = look(target, layout, where)
    if raw:
        sys.stdout.buffer.write(found.manifest())
        sys.stdout.buffer.flush()
    elif as_json:
        put_json(found.about)
    else:
        for line in lines(found.about):
            put(clean(line))
