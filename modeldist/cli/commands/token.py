"""`modeldist token`"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.stored import Stored, stored_options
from modeldist.cli.terminal import clean, put, put_json, put_table, say
from modeldist.errors import NotFound

if TYPE_CHECKING:
    from modeldist.control.store.database import Database
    from modeldist.control.store.tokens import Scope, Token


@click.group()
def token() -> None:
    """Make, list and revoke tokens of a control plane.

    For whoever may read its state directory, on its machine; it need not run.

    \b
    Example:
      modeldist token create dashboard --scope read --expires 90d > dashboard.token
    """


@token.command(cls=Command)
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(["admin", "agent", "read"]),
    default="read",
    show_default=True,
    help="read: look. agent: join as a node. admin: all.",
)
@click.option("--expires", metavar="TIME", help="It opens nothing after 12h, 90d. [default: it does not expire]")
@stored_options
def create(name: str, scope: Any, expires: str | None, stored: Stored) -> None:
    """Make a token and print it: it is shown this once.

    \b
    Example:
      modeldist token create ci --scope admin --expires 12h > ci.token
    """
    lifetime = None if expires is None else units.parse_duration(expires)
    made = stored.run(partial(_made, name[:128], scope, lifetime, "create"))
    say(f"A token for {clean(name)} with the scope {scope}, which {_until(lifetime)}.")
    put(made)


@token.command(cls=Command)
@click.option("--name", default="join", show_default=True, help="What the list and the audit log call it.")
@click.option("--expires", metavar="TIME", default="10m", show_default=True, help="It enrols nobody after that.")
@stored_options
def join(name: str, expires: str, stored: Stored) -> None:
    """Make a join token and print it: it enrols one agent, once.

    The agent has a token and a certificate of its own from then on. To take them away: modeldist token revoke NODE.

    \b
    Example:
      modeldist token join --expires 10m > join.token
      modeldist agent --control https://control:7420 --join-token-file join.token
    """
    lifetime = units.parse_duration(expires)
    made = stored.run(partial(_made, name[:128], "join", lifetime, "join"))
    say(f"A join token, which enrols one agent and {_until(lifetime)}.")
    put(made)


@token.command("ls", cls=Command)
@stored_options
@options.as_json
def listing(stored: Stored, as_json: bool) -> None:
    """List tokens: their names, scopes and when they expire.

    Never the tokens themselves.

    \b
    Example:
      modeldist token ls
    """
    found = stored.run(_all)
    if as_json:
        put_json(
            [
                {"id": t.id, "name": t.name, "scope": t.scope, "created_at": t.created_at, "expires_at": t.expires_at}
                for t in found
            ]
        )
        return
    put_table(("ID", "SCOPE", "EXPIRES", "NAME"), [(each.id, each.scope, _end(each), each.name) for each in found])


@token.command(cls=Command)
@click.argument("which", metavar="ID|NAME")
@stored_options
def revoke(which: str, stored: Stored) -> None:
    """Delete a token.

    Within seconds it opens nothing, and sessions of agents that it opened end.

    \b
    Example:
      modeldist token revoke ci
    """
    gone = stored.run(partial(_revoked, which))
    if gone is None:
        raise NotFound(
            f"{clean(which)} is the id or name of no token, or the name of several.",
            remedy="`modeldist token ls` has their ids: name one.",
        )
    say(f"Revoked {gone.id}, {clean(gone.name)}.")


async def _made(name: str, scope: Scope, lifetime: float | None, command: str, database: Database) -> str:
    from modeldist.control.store.deeds import note_deed
    from modeldist.control.store.tokens import Tokens

    text = await Tokens(database).create(name, scope, lifetime)
    await note_deed(database, f"create_{scope}_token", f"modeldist token {command}", f"{text.split('_')[1]} {name}")
    return text


async def _revoked(which: str, database: Database) -> Token | None:
    from modeldist.control.store.deeds import note_deed
    from modeldist.control.store.tokens import Tokens

    if (gone := await Tokens(database).revoke(which)) is not None:
        await note_deed(database, "revoke_token", "modeldist token revoke", f"{gone.id} {gone.name}")
    return gone


async def _all(database: Database) -> list[Token]:
    from modeldist.control.store.tokens import Tokens

    return await Tokens(database).all()


def _until(lifetime: float | None) -> str:
    return "does not expire" if lifetime is None else f"expires on {_date(time.time() + lifetime)}"


def _end(token: Token) -> str:
    if token.expires_at is None:
        return "never"
    return f"{_date(token.expires_at)}{' (it has)' if token.expires_at <= time.time() else ''}"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
