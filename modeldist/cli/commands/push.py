"""`modeldist push`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import attended, clean, put, put_json, say

if TYPE_CHECKING:
    from modelpack.oci import Progress


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
    import asyncio

    from modeldist.cli import layouts
    from modeldist.cli.registries import registry_client
    from modeldist.origins.modelpack_errors import in_our_words
    from modelpack.layout import OciLayout
    from modelpack.oci import push as push_layout

    ref = layouts.reference(reference, registry)
    source = OciLayout.open(layouts.layout_path(layout, store))
    account = PushAccount(talk=attended() and not quiet)

    async def send() -> str:
        async with registry_client(plain_http) as client:
            return await push_layout(source, str(ref), ref, client, account.add)

    with in_our_words(str(ref), ref.registry):
        digest = asyncio.run(send())
    pinned = f"{ref.name}@{digest}"
    if account.talk:
        say(account.summary())
    if as_json:
        put_json(
            {
                "reference": pinned,
                "digest": digest,
                "bytes_sent": account.sent,
                "bytes_present": account.there,
            }
        )
    else:
        put(pinned)


class PushAccount:
    """Adds up what a push sent. With `talk`, a line on stderr for each blob that is done."""

    def __init__(self, *, talk: bool) -> None:
        self.talk = talk
        self.sent = 0
        self.there = 0
        self._moved: dict[str, int] = {}

    def add(self, progress: Progress) -> None:
        blob = progress.descriptor
        if progress.how == "moved":
            self.sent += progress.done
            moved = self._moved[blob.digest] = self._moved.get(blob.digest, 0) + progress.done
            if moved < blob.size:
                return
        else:
            self.there += progress.done
        if self.talk:
            name = blob.annotations.get("org.cncf.model.filepath", blob.digest[:19])
            how = "sent" if progress.how == "moved" else "already there"
            say(clean(f"  {name}  {units.size(blob.size)}  {how}"))

    def summary(self) -> str:
        return f"{units.size(self.sent)} sent, {units.size(self.there)} already there"
