"""`modeldist push`"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.byte_bar import bar
from modeldist.cli.terminal import attended, put, put_json, say
from modeldist.cli.transfers import Account
from modeldist.errors import NotFound

if TYPE_CHECKING:
    from modelpack.layout import OciLayout
    from modelpack.oci import Progress
    from modelpack.reference import Reference


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.option("--layout", type=options.PATH, metavar="LAYOUT", help="OCI layout that holds it. [default: in the store]")
@options.registry
@options.plain_http
@options.store
@options.as_json
@options.quiet
def push(
    reference: str,
    layout: Path | None,
    registry: str | None,
    plain_http: tuple[str, ...],
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Push a built model to its registry.

    Prints its pinned reference. What is there already is not sent again.

    \b
    Example:
      modeldist push registry.example/org/model:v1
    """
    from modeldist.cli import layouts

    ref = layouts.reference(reference, registry)
    source = built(layouts.layout_path(layout, store), str(ref))
    digest, account = push_layout(source, ref, plain_http, shown=attended() and not quiet)
    pinned = f"{ref.name}@{digest}"
    if as_json:
        put_json(
            {
                "reference": pinned,
                "digest": digest,
                "bytes_sent": account.moved,
                "bytes_present": account.mounted + account.present,
            }
        )
    else:
        put(pinned)


def push_layout(source: OciLayout, ref: Reference, plain_http: Iterable[str], *, shown: bool) -> tuple[str, Account]:
    """Push what the layout calls `ref` there; the digest and what was sent. `shown`: a bar and a summary on stderr."""
    import asyncio

    from modeldist.cli.registries import registry_client
    from modeldist.origins.modelpack_errors import in_our_words
    from modelpack.oci import push as send_layout

    account = Account()

    async def send(advance: Callable[[int], None]) -> str:
        def tell(progress: Progress) -> None:
            account.add(progress)
            advance(progress.done)

        async with registry_client(plain_http) as client:
            return await send_layout(source, str(ref), ref, client, tell)

    with in_our_words(str(ref), ref.registry), bar(_size(source, str(ref)), shown=shown) as advance:
        digest = asyncio.run(send(advance))
    if shown:
        say(f"{units.size(account.moved)} sent, {units.size(account.mounted + account.present)} already there")
    return digest, account


def built(path: Path, ref: str) -> OciLayout:
    """The layout that holds the model called `ref`. Raises NotFound."""
    from modelpack.errors import LayoutError
    from modelpack.layout import OciLayout

    try:
        layout = OciLayout.open(path)
        layout.manifest(ref)
    except LayoutError as error:
        raise NotFound(
            f"{ref} is not built. {error.message}",
            remedy=f"{error.remedy} Build it: `modeldist build DIR -t {ref}`.".strip(),
        ) from error
    return layout


def _size(layout: OciLayout, ref: str) -> int:
    _, manifest = layout.manifest(ref)
    return sum({blob.digest: blob.size for blob in (manifest.config, *manifest.layers)}.values())
