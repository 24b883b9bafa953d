"""`modeldist authority`"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.stored import Stored, stored_options
from modeldist.cli.terminal import put, put_json
from modeldist.errors import UsageError

if TYPE_CHECKING:
    from modeldist.control.authorities import Authorities
    from modeldist.control.store.database import Database


@click.group()
def authority() -> None:
    """See and replace what certifies nodes.

    For whoever may read the control plane's state directory, on its machine.

    \b
    Example:
      modeldist authority rotate
    """


@authority.command(cls=Command)
@stored_options
def rotate(stored: Stored) -> None:
    """Make a new authority over nodes, in the old one's place.

    It takes that place in twice a certificate's lifetime.

    The control plane does that while transfers go on: nodes are given both to trust, then certificates of the new one,
    and trust the old one no more once nothing that it certified is good. See how far it is with `authority show`.

    \b
    Example:
      modeldist authority rotate
    """
    from modeldist.control.store.deeds import note_deed
    from modeldist.control.store.meta import Meta
    from modeldist.transfer.tls.authority import new_authority

    async def begin(database: Database) -> Authorities:
        meta = Meta(database)
        cluster = (await meta.identity()).cluster
        before = await meta.authorities()
        if before.step:
            raise UsageError(
                f"An authority over nodes is being replaced already: {_told(before)}",
                remedy="Wait until that is done: `modeldist authority show`.",
            )
        after = before.rotated(new_authority(cluster))
        if not await meta.keep_authorities(before, after):
            raise UsageError("Somebody else replaces the authority over nodes.", remedy="`modeldist authority show`.")
        await note_deed(database, "rotate_authority", "modeldist authority rotate")
        return after

    put(_told(stored.run(begin)))


@authority.command(cls=Command)
@stored_options
@options.as_json
def show(stored: Stored, as_json: bool) -> None:
    """Show which authority certifies nodes, and which are trusted.

    \b
    Example:
      modeldist authority show
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    from modeldist.control.store.meta import Meta

    async def look(database: Database) -> Authorities:
        meta = Meta(database)
        await meta.identity()
        return await meta.authorities()

    found = stored.run(look)
    trusted = x509.load_pem_x509_certificates(found.trusted)
    prints = [certificate.fingerprint(hashes.SHA256()).hex() for certificate in trusted]
    if as_json:
        put_json({"certifies": prints[0], "trusted": prints, "step": found.step, "until": found.until})
        return
    put(f"certifies  {prints[0]}")
    for other in prints[1:]:
        put(f"trusted    {other}")
    put(_told(found))


def _told(found: Authorities) -> str:
    if not found.step:
        return "It is the only one."
    if found.until is None:
        return "A new one waits for the control plane, which looks every few seconds while it runs."
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(found.until))
    if found.step == "coming":
        return f"Nodes are given a new one to trust, which certifies them from {when} on."
    return f"It took the place of another, which is trusted until {when}."
