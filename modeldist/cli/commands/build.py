"""`modeldist build`"""

from __future__ import annotations

from pathlib import Path

import click

from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import attended, clean, put, put_json, say


@click.command(cls=Command)
@click.argument("directory", metavar="DIR", type=options.PATH)
@click.option("--tag", "-t", metavar="REF", help="What to call it, for `modeldist push`.")
@click.option(
    "--output", "-o", type=options.PATH, metavar="LAYOUT", help="OCI layout to build into. [default: in the store]"
)
@options.registry
@options.store
@options.as_json
@options.quiet
def build(
    directory: Path,
    tag: str | None,
    output: Path | None,
    registry: str | None,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Build a ModelPack from a directory.

    DIR holds the model's files; a snapshot in a Hugging Face cache will do.

    One raw layer per file; the same files always give the same digest.

    Files are linked into the layout, not copied, where the file system can: do not edit them in place afterwards.

    \b
    Example:
      modeldist build ./my-model -t registry.example/org/model:v1
    """
    from modeldist.agent.store.failures import naming
    from modeldist.cli.layouts import layout_path, reference
    from modelpack.build import build as build_into
    from modelpack.layout import OciLayout

    ref = reference(tag, registry) if tag else None
    path = layout_path(output, store)
    talk = attended() and not quiet
    with naming("make a layout", path):
        layout = OciLayout.create(path)
    built = build_into(
        directory,
        layout,
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
