"""`modeldist build`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modeldist.cli import options, units
from modeldist.cli.terminal import attended, clean, put, put_json, say


def build(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The model's files, or a snapshot in a Hugging Face cache.")
    ],
    tag: Annotated[
        str | None, typer.Option("--tag", "-t", metavar="REF", help="What to call it, for `modeldist push`.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="LAYOUT", help="OCI layout to build into. [default: layout/ in the store]"
        ),
    ] = None,
    registry: options.DefaultRegistry = None,
    store: options.StorePath = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Build a ModelPack from a directory.

    One raw layer per file; the same files always give the same digest.

    Files are linked into the layout, not copied, where the file system can: do not edit them in place afterwards.

    \b
    Example:
      modeldist build ./my-model -t registry.example/org/model:v1
    """
    from modeldist.cli.layouts import layout_path, reference
    from modelpack.build import build as build_into
    from modelpack.layout import OciLayout

    ref = reference(tag, registry) if tag else None
    path = layout_path(output, store)
    talk = attended() and not quiet
    built = build_into(
        directory,
        OciLayout.create(path),
        ref=str(ref) if ref else "",
        on_file=(lambda name, size: say(clean(f"  {name}  {units.size(size)}"))) if talk else None,
    )
    pinned = f"{ref.name}@{built.digest}" if ref else built.digest
    if not quiet:
        for warning in built.warnings:
            say(f"modeldist: {clean(warning)}")
    if as_json:
        put_json(
            {
                "reference": pinned,
                "digest": built.digest,
                "size": sum(layer.size for layer in built.manifest.layers),
                "files": len(built.manifest.layers),
                "layout": str(path),
                "name": str(ref) if ref else "",
                "warnings": built.warnings,
            }
        )
    else:
        put(pinned)
