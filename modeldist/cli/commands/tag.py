"""`modeldist tag`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.places import LayoutPlace, place
from modeldist.cli.terminal import put, put_json
from modeldist.errors import UsageError

if TYPE_CHECKING:
    from modelpack.reference import Reference


@click.command(cls=Command)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--local", is_flag=True, help="Name what was built on this machine, not what is in the registry.")
@options.registry
@options.plain_http
@options.store
@options.as_json
def tag(
    source: str,
    target: str,
    local: bool,
    registry: str | None,
    plain_http: tuple[str, ...],
    store: Path | None,
    as_json: bool,
) -> None:
    """Give a model another tag; a tag that is there moves.

    In a registry, DST is of the repository of SRC: a whole reference, or :TAG alone. No blob is moved; `copy` goes to
    other repositories. --local names what was built here, by any reference. oci-layout:DIR:TAG names within a layout.

    \b
    Example:
      modeldist tag registry.example/org/model:v1 :latest
      modeldist tag --local registry.example/org/model:v1 mirror.example/org/model:v1
    """
    from modeldist.origins.modelpack_errors import in_our_words

    origin = place(source, registry)
    with in_our_words(source, "" if isinstance(origin, LayoutPlace) else origin.registry):
        if local or isinstance(origin, LayoutPlace):
            digest, named = _in_layout(origin, source, target, registry, store)
        else:
            digest, named = _in_registry(origin, target, registry, plain_http)
    if as_json:
        put_json({"reference": named, "digest": digest})
    else:
        put(f"{named}@{digest}")


def _in_registry(origin: Reference, target: str, registry: str | None, plain_http: tuple[str, ...]) -> tuple[str, str]:
    import asyncio

    from modeldist.cli.registries import registry_client

    there = origin.with_tag(target[1:]) if target.startswith(":") else place(target, registry)
    if isinstance(there, LayoutPlace) or there.name != origin.name or not there.tag:
        raise UsageError(
            f"{target} is no tag of {origin.name}.",
            remedy=f"Write :TAG for one, or copy: `modeldist copy {origin} {target}`.",
        )

    async def run() -> str:
        async with registry_client(plain_http) as client:
            found = await client.get_manifest(origin)
            return await client.put_manifest(there, found.raw, found.media_type)

    return asyncio.run(run()), str(there)


def _in_layout(
    origin: LayoutPlace | Reference, source: str, target: str, registry: str | None, store: Path | None
) -> tuple[str, str]:
    from modeldist.cli.layouts import layout_path, reference
    from modelpack.layout import OciLayout

    if isinstance(origin, LayoutPlace):
        layout, before = OciLayout.open(origin.path), origin.ref
        name = target.removeprefix(f"oci-layout:{origin.path}").removeprefix(":")
        if not name or "oci-layout:" in name or (":" in name and "/" not in name):
            raise UsageError(f"{target} is no name in {origin.path}.", remedy="Write :TAG.")
        shown = str(LayoutPlace(origin.path, name))
    else:
        layout, before = OciLayout.open(layout_path(None, store)), str(reference(source, registry))
        name = shown = str(origin.with_tag(target[1:]) if target.startswith(":") else reference(target, registry))
    descriptor = layout.resolve(before)
    raw = layout.blobs.read(descriptor, "manifest")
    return layout.add_manifest(raw, name, media_type=descriptor.media_type).digest, shown
