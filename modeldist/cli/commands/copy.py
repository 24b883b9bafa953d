"""`modeldist copy`"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.byte_bar import bar
from modeldist.cli.places import LayoutPlace, place
from modeldist.cli.terminal import attended, put, put_json, say
from modeldist.cli.transfers import Account
from modeldist.errors import Cancelled, UsageError

if TYPE_CHECKING:
    from modelpack.layout import OciLayout
    from modelpack.oci import CopyReport, Progress
    from modelpack.reference import Reference


@click.command(cls=Command)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--platform", metavar="OS/ARCH", help="Of an index, copy only what is for this platform.")
@click.option("--model", "only_model", is_flag=True, help="Of an index, copy only the model.")
@click.option("--no-referrers", is_flag=True, help="Leave signatures, chunk tables and the like behind.")
@click.option(
    "--mount-from",
    multiple=True,
    metavar="REPO",
    help="Repository of the target's registry that may have blobs already (repeatable).",
)
@click.option("--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Blobs at once.")
@options.node_options("registry", "plain_http", "policy", "store")
@options.as_json
@options.quiet
def copy(
    source: str,
    target: str,
    platform: str | None,
    only_model: bool,
    no_referrers: bool,
    mount_from: tuple[str, ...],
    concurrency: int,
    here: Node,
    as_json: bool,
    quiet: bool,
) -> None:
    """Copy a model between registries, byte for byte.

    No copy stays on this machine. SRC and DST are references, or oci-layout:DIR:TAG. A DST without a tag gets that of
    SRC.

    What DST has is not sent; within one registry, blobs are mounted. Indexes are copied with all they lead to;
    signatures and chunk tables go along. Stopped or killed, the next copy goes on where this one was. Under a policy,
    nothing is copied from a registry that no accepted signature vouches for.

    \b
    Example:
      modeldist copy registry.example/org/model:v1 mirror.example/org/model:v1
    """
    import asyncio

    from modeldist.cli.accepted import accepted
    from modeldist.cli.outliving import outlive, stop_by
    from modeldist.cli.registries import registry_client
    from modeldist.origins.modelpack_errors import in_our_words
    from modelpack.oci.copy import CopyStopped, copy_artifact, for_platform, the_model
    from modelpack.oci.ends import LayoutSource, LayoutTarget, RegistrySource, RegistryTarget

    if platform and only_model:
        raise UsageError("--platform and --model choose differently.", remedy="Leave one of them out.")
    origin = place(source, here.registry)
    there = _named(place(target, here.registry), origin)
    account = Account()
    select = for_platform(platform) if platform else the_model if only_model else None
    shown = attended() and not quiet
    ending = outlive()

    async def run(advance: Callable[[int], None]) -> CopyReport:
        def tell(progress: Progress) -> None:
            account.add(progress)
            advance(progress.done)

        stop = stop_by(ending)
        wanted = origin if isinstance(origin, LayoutPlace) else await accepted(origin, here)
        async with registry_client(here.plain_http) as client:
            begin = (
                LayoutSource(_layout(wanted), wanted.ref)
                if isinstance(wanted, LayoutPlace)
                else RegistrySource(client, wanted)
            )
            end = (
                LayoutTarget(_layout(there, make=True), there.ref)
                if isinstance(there, LayoutPlace)
                else RegistryTarget(client, there, mount_from, _records(here.store), stop)
            )
            return await copy_artifact(
                begin,
                end,
                tell,
                select=select,
                referrers=not no_referrers,
                parallel=concurrency,
                expect="" if isinstance(there, LayoutPlace) else there.digest or "",
                stop=stop,
            )

    host = "" if isinstance(there, LayoutPlace) else there.registry
    with in_our_words(f"{origin} to {there}", host), bar(None, shown=shown) as advance:
        try:
            report = asyncio.run(run(advance))
        except CopyStopped:
            raise Cancelled(
                f"The copy of {origin} was stopped.", remedy="What has arrived is kept; copy again to go on."
            ) from None
    pinned = f"{there.path if isinstance(there, LayoutPlace) else there.name}@{report.digest}"
    if shown:
        sent, mounted, there_already = map(units.size, (account.moved, account.mounted, account.present))
        say(f"{sent} sent, {mounted} mounted, {there_already} already there")
    if as_json:
        put_json(
            {
                "reference": pinned,
                "digest": report.digest,
                "bytes_sent": account.moved,
                "bytes_mounted": account.mounted,
                "bytes_present": account.present,
                "manifests": report.manifests,
                "referrers": report.referrers,
                "tags": report.tags,
            }
        )
    else:
        put(pinned)


def _named(there: LayoutPlace | Reference, origin: LayoutPlace | Reference) -> LayoutPlace | Reference:
    """The target with the source's tag, where it has none of its own."""
    from dataclasses import replace

    if isinstance(origin, LayoutPlace):
        tag = "" if origin.pinned else origin.ref.rpartition(":")[2]  # a name may be a whole reference
    else:
        tag = origin.tag or ("" if origin.digest else "latest")
    if isinstance(there, LayoutPlace):
        if there.pinned:
            raise UsageError(f"{there} names a digest, and a layout gets names.", remedy="Write oci-layout:DIR:tag.")
        return there if there.ref else LayoutPlace(there.path, tag)
    if there.tag or there.digest or not tag:
        return there
    return replace(there, tag=tag)


def _layout(where: LayoutPlace, *, make: bool = False) -> OciLayout:
    from modelpack.layout import OciLayout

    return OciLayout.create(where.path) if make else OciLayout.open(where.path)


def _records(store: Path) -> Path:
    """Where half-sent blobs are remembered."""
    return store / "uploads"
