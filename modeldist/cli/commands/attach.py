"""`modeldist attach`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.places import LayoutPlace, place
from modeldist.cli.terminal import put, put_json
from modeldist.errors import NotFound

if TYPE_CHECKING:
    from modelpack.oci import RegistryClient
    from modelpack.oci.attach import Attached
    from modelpack.oci.ends import Source, Target
    from modelpack.reference import Reference


@click.command(cls=Command)
@click.argument("file", metavar="FILE", type=options.PATH)
@click.option("--source", "-s", required=True, metavar="REF", help="The model to attach it to.")
@click.option("--target", "-t", metavar="REF", help="What to call the new model. [default: as the source]")
@click.option("--destination-dir", "-d", default="", metavar="DIR", help="The file's directory in the model.")
@click.option(
    "--kind",
    type=click.Choice(["weight", "weight.config", "code", "doc", "dataset"]),
    help="What the file is. [default: by its name]",
)
@click.option(
    "--encoding",
    type=click.Choice(["raw", "tar", "tar+gzip", "tar+zstd"]),
    default="raw",
    show_default=True,
    help="How its layer is packed.",
)
@click.option("--output-remote", is_flag=True, help="Work on the model in the registry, not on what was built here.")
@click.option("--force", "-f", is_flag=True, help="Replace a file of that path.")
@click.option("--config", "as_config", is_flag=True, help="FILE is a config for the model, in place of its own.")
@options.registry
@options.plain_http
@options.store
@options.as_json
def attach(
    file: Path,
    source: str,
    target: str | None,
    destination_dir: str,
    kind: str | None,
    encoding: str,
    output_remote: bool,
    force: bool,
    as_config: bool,
    registry: str | None,
    plain_http: tuple[str, ...],
    store: Path | None,
    as_json: bool,
) -> None:
    """Add a file to a model, as a new layer.

    Works on what was built on this machine; with --output-remote on the model in the registry, whose blobs are not
    moved. REF may be oci-layout:DIR:TAG. What the config and the manifest say stays; signatures do not go along, as the
    model is another one.

    \b
    Example:
      modeldist attach README.md -s registry.example/org/model:v1 -t registry.example/org/model:v2 --output-remote
    """
    import asyncio
    import os

    from modeldist.agent.store.failures import naming
    from modeldist.cli.registries import registry_client
    from modeldist.origins.modelpack_errors import in_our_words
    from modelpack.build import source_date_epoch
    from modelpack.mediatypes import ENCODINGS, KINDS
    from modelpack.oci.attach import attach as attach_file
    from modelpack.oci.attach import attach_config

    origin, there = place(source, registry), place(target or source, registry)
    inside = "/".join(part for part in (destination_dir.strip("/"), file.name) if part)
    chosen = next((each for each in KINDS if each == kind), None)
    packed = next(each for each in ENCODINGS if each == encoding)

    async def run() -> Attached:
        async with registry_client(plain_http) as client:
            begin = _source(origin, client, output_remote, store)
            end = _target(there, client, output_remote, store)
            if as_config:
                return await attach_config(begin, end, raw)
            epoch = source_date_epoch(os.environ)
            return await attach_file(begin, end, file, inside, kind=chosen, encoding=packed, force=force, epoch=epoch)

    with naming("read", file):
        raw = file.read_bytes() if as_config else b""
    with in_our_words(source, "" if isinstance(origin, LayoutPlace) else origin.registry):
        done = asyncio.run(run())
    name = there.path if isinstance(there, LayoutPlace) else there.name
    if as_json:
        put_json(
            {"reference": f"{name}@{done.digest}", "digest": done.digest, "path": done.path, "replaced": done.replaced}
        )
    else:
        put(f"{name}@{done.digest}")


def _source(where: LayoutPlace | Reference, client: RegistryClient, remote: bool, store: Path | None) -> Source:
    from modeldist.cli.layouts import layout_path
    from modelpack.layout import OciLayout
    from modelpack.oci.ends import LayoutSource, RegistrySource

    if isinstance(where, LayoutPlace):
        return LayoutSource(OciLayout.open(where.path), where.ref)
    if remote:
        return RegistrySource(client, where)
    path, name = layout_path(None, store), _name(where)
    if (path / "oci-layout").exists() and name in OciLayout.open(path).refs():
        return LayoutSource(OciLayout.open(path), name)
    raise NotFound(
        f"{name} was not built on this machine.", remedy="Give --output-remote to work on the model in the registry."
    )


def _target(where: LayoutPlace | Reference, client: RegistryClient, remote: bool, store: Path | None) -> Target:
    from modeldist.cli.layouts import layout_path
    from modelpack.layout import OciLayout
    from modelpack.oci.ends import LayoutTarget, RegistryTarget

    if isinstance(where, LayoutPlace):
        return LayoutTarget(OciLayout.create(where.path), where.ref)
    if remote:
        return RegistryTarget(client, where)
    return LayoutTarget(OciLayout.create(layout_path(None, store)), _name(where))


def _name(where: Reference) -> str:
    return str(where if where.tag or where.digest else where.with_tag("latest"))
