"""`modeldist login`, `modeldist logout`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import say
from modeldist.errors import AuthenticationRequired, UsageError

if TYPE_CHECKING:
    from modelpack.oci import Credential


@click.command(cls=Command)
@click.argument("registry")
@click.option("--username", "-u", metavar="USER", help="Asked for when left out.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@options.plain_http
def login(registry: str, username: str | None, password_stdin: bool, plain_http: tuple[str, ...]) -> None:
    """Check a password with a registry and keep it.

    It is kept where Docker does.

    \b
    Example:
      echo "$TOKEN" | modeldist login registry.example -u ci --password-stdin
    """
    import asyncio

    from modeldist.cli.registries import registry_client
    from modelpack.errors import RegistryUnauthorized
    from modelpack.oci import DockerCredentials, FixedCredentials

    host = registry_name(registry)
    credential = ask(host, username, password_stdin=password_stdin)

    async def check_and_keep() -> None:
        async with registry_client(plain_http, FixedCredentials({host: credential})) as client:
            try:
                await client.check_access(host)
            except RegistryUnauthorized as error:
                raise AuthenticationRequired(
                    f"{host} refuses this name and password.",
                    remedy="Check them; some registries want an access token in place of the password.",
                ) from error
        await DockerCredentials.from_environment().login(host, credential)

    asyncio.run(check_and_keep())
    say(f"Logged in to {host}.")


@click.command(cls=Command)
@click.argument("registry")
def logout(registry: str) -> None:
    """Forget the name and password for a registry.

    \b
    Example:
      modeldist logout registry.example
    """
    import asyncio

    from modelpack.oci import DockerCredentials

    host = registry_name(registry)
    forgotten = asyncio.run(DockerCredentials.from_environment().logout(host))
    say(f"Logged out of {host}." if forgotten else f"There was no login for {host}.")


def registry_name(text: str) -> str:
    """`host[:port]` of what the user typed, a URL included. Raises UsageError, modelpack's InvalidReference."""
    from modelpack.reference import Reference

    host = text.removeprefix("https://").removeprefix("http://").removesuffix("/").removesuffix("/v2")
    if not host or "/" in host:
        raise UsageError(f"{text!r} is not a registry.", remedy="Name its host and port: registry.example:5000.")
    return Reference.parse(f"{host}/any", default_registry=host).registry


def ask(host: str, username: str | None, *, password_stdin: bool) -> Credential:
    """Name and password, from the options, stdin or the terminal. Raises UsageError."""
    from modelpack.oci import Credential

    if not password_stdin and not sys.stdin.isatty():
        raise UsageError(
            "There is no terminal to ask for the password.", remedy="Pipe it in and give --password-stdin."
        )
    if username is None and password_stdin:
        raise UsageError("--password-stdin needs the user's name too.", remedy="Give -u USER.")
    name = username or click.prompt(f"User at {host}", err=True)
    if password_stdin:
        password = sys.stdin.read().rstrip("\r\n")
    else:
        password = click.prompt(f"Password of {name}", hide_input=True, err=True)
    if not password:
        raise UsageError("The password is empty.")
    return Credential(name, password)
