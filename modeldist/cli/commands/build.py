"""`modeldist build`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import attended, clean, put, put_json, say
from modeldist.errors import UsageError

if TYPE_CHECKING:
    from modelpack.mediatypes import Encoding, LayerKind


@click.command(cls=Command)
@click.argument("source", metavar="DIR|hf://…|modelscope://…")
@click.option("--tag", "-t", "--target", metavar="REF", help="What to call it, for `modeldist push`.")
@click.option(
    "--file", "-f", "--modelfile", "modelfile", type=options.PATH, metavar="FILE", help="Modelfile or Kitfile to go by."
)
@click.option(
    "--output", "-o", type=options.PATH, metavar="LAYOUT", help="OCI layout to build into. [default: in the store]"
)
@click.option(
    "--encoding",
    "encodings",
    multiple=True,
    metavar="[KIND=]ENC",
    help="Pack layers as tar, tar+gzip or tar+zstd instead of raw: all, or those of one kind (weight, weight.config, "
    "code, doc, dataset; repeatable).",
)
@click.option("--raw/--no-raw", default=True, hidden=True, help="modctl's name for --encoding tar.")
@click.option("--no-creation-time", is_flag=True, hidden=True, help="Of modctl; none is set without SOURCE_DATE_EPOCH.")
@click.option("--output-remote", is_flag=True, help="Push it, too.")
@click.option("--no-chunk-table", is_flag=True, help="Leave out what proves parts of files before they are whole.")
@click.option("--no-chunk-index", is_flag=True, help="Leave out what tells nodes what a new version has in common.")
@click.option("--source-url", default="", metavar="URL", help="Where the model came from, for its config.")
@click.option("--source-revision", default="", metavar="REV", help="Which revision of it that was.")
@click.option("--reasoning", is_flag=True, help="Say in the config that the model can reason.")
@click.option(
    "--concurrency", "-c", type=click.IntRange(1, 64), help="Files at once. [default: one per core, at most 8]"
)
@options.as_json
@options.quiet
@options.node_options("registry", "plain_http", "hf_endpoint", "policy", "store", "hub", "socket", "agent")
def build(
    source: str,
    tag: str | None,
    modelfile: Path | None,
    output: Path | None,
    encodings: tuple[str, ...],
    raw: bool,
    no_creation_time: bool,
    output_remote: bool,
    no_chunk_table: bool,
    no_chunk_index: bool,
    source_url: str,
    source_revision: str,
    reasoning: bool,
    concurrency: int | None,
    as_json: bool,
    quiet: bool,
    here: Node,
) -> None:
    """Build a ModelPack from a directory or a hub's model.

    DIR holds the model's files; a snapshot in a Hugging Face cache will do. -f names a Modelfile (`modeldist modelfile
    generate` writes one) or a Kitfile that says which files go in and as what; without it, all do, by their names.

    One layer per file, raw unless --encoding says otherwise; the same files always give the same digest, also on other
    days and machines. SOURCE_DATE_EPOCH, where set, dates them.

    Large files are linked into the layout, not copied, where the file system can: do not edit them in place afterwards.

    \b
    Example:
      modeldist build ./my-model -t registry.example/org/model:v1
      modeldist build hf://org/model@main -t registry.example/org/model:v1
    """
    from modeldist.agent.store.failures import naming
    from modeldist.cli.bringing import brought, is_remote, revision_of
    from modeldist.cli.commands.push import push_layout
    from modeldist.cli.layouts import layout_path, reference
    from modeldist.cli.modelfiles import plan
    from modelpack.build import build as build_into
    from modelpack.config import Capabilities, ModelDescriptor, TechnicalConfig
    from modelpack.layout import OciLayout

    ref = reference(tag, here.registry) if tag else None
    if output_remote and ref is None:
        raise UsageError("--output-remote does not say where to.", remedy="Give --tag registry/org/model:tag as well.")
    path = layout_path(output, here.store)
    talk = attended() and not quiet
    with naming("make a layout", path):
        layout = OciLayout.create(path)
    remote = is_remote(source)
    directory = brought(source, here, quiet=quiet) if remote else Path(source)
    follow = (here.store, *((here.hub,) if here.hub else ())) if remote else ()
    about = ModelDescriptor(
        source_url=source_url or (source if remote else ""),
        revision=source_revision or (revision_of(source, directory) if remote else ""),
    )
    built = build_into(
        directory,
        layout,
        plan=plan(modelfile, directory, follow, (layout.path,)) if modelfile else None,
        follow=follow,
        ref=str(ref) if ref else "",
        about=about,
        technical=TechnicalConfig(capabilities=Capabilities(reasoning=True) if reasoning else None),
        encodings=_encodings((*(() if raw else ("tar",)), *encodings)),
        chunk_table=not no_chunk_table,
        chunk_index=not no_chunk_index,
        threads=concurrency,
        on_file=(lambda name, size: say(clean(f"  {name}  {units.size(size)}"))) if talk else None,
    )
    pinned = f"{ref.name}@{built.digest}" if ref else built.digest
    if output_remote and ref:
        push_layout(layout, ref, here.plain_http, shown=talk)
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


def _encodings(given: tuple[str, ...]) -> dict[LayerKind, Encoding]:
    """Raises UsageError."""
    from modelpack.mediatypes import ENCODINGS, KINDS

    chosen: dict[LayerKind, Encoding] = {}
    for text in given:
        kind, _, name = text.rpartition("=")
        encoding = next((known for known in ENCODINGS if known == name), None)
        kinds = [known for known in KINDS if kind in ("", known)]
        if encoding is None or not kinds:
            raise UsageError(
                f"--encoding {text!r} is not understood.",
                remedy=f"Write one of {', '.join(ENCODINGS)}, alone or after KIND=, of {', '.join(KINDS)}.",
            )
        chosen.update(dict.fromkeys(kinds, encoding))
    return chosen
