"""`modeldist release`"""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import clean, put, put_json


@click.group()
def release() -> None:
    """Make releases of this program for agents to update to.

    \b
    Example:
      modeldist release sign dist --key release.key
      modeldist build dist -t registry.example/ops/modeldist:0.2.0
      modeldist push registry.example/ops/modeldist:0.2.0
    """


@release.command(cls=Command)
@click.argument("folder", metavar="DIR", type=options.PATH)
@click.option(
    "--key",
    "key_file",
    type=options.PATH,
    required=True,
    metavar="FILE",
    help="The private key, as of `modeldist keygen`. Its password is in MODELDIST_KEY_PASSWORD.",
)
@click.option("--minimum", default="0", metavar="VERSION", help="The oldest version that may become it. [default: any]")
@click.option("--expires", default="90d", show_default=True, metavar="TIME", help="Nobody installs it after that.")
@options.as_json
def sign(folder: Path, key_file: Path, minimum: str, expires: str, as_json: bool) -> None:
    """Sign the wheels in DIR, which makes them a release.

    One of modeldist, and those of what it needs where machines lack them. Writes DIR/release.json. Prints the version.

    \b
    Example:
      pip wheel --no-deps -w dist . && modeldist release sign dist --key release.key
    """
    from modeldist.cli.keys import private_key
    from modeldist.upgrade.release import make

    made = make(folder, private_key(key_file), minimum=minimum, now=time.time(), lifetime=units.parse_duration(expires))
    if as_json:
        put_json(msgspec.to_builtins(made))
    else:
        put(made.version)


@release.command(cls=Command)
@click.argument("folder", metavar="DIR", type=options.PATH)
@click.option("--key", "key_file", type=options.PATH, required=True, metavar="FILE", help="The public key.")
@options.as_json
def verify(folder: Path, key_file: Path, as_json: bool) -> None:
    """Hold the release in DIR against its signature.

    As an agent does before it installs it.

    \b
    Example:
      modeldist release verify dist --key release.pub
    """
    from modeldist.cli.keys import public_key
    from modeldist.upgrade.release import read

    found = read(folder, [public_key(key_file)])
    if as_json:
        put_json(msgspec.to_builtins(found))
        return
    put(f"{found.version}, for {found.minimum} and later")
    for wheel in found.wheels:
        put(clean(f"{wheel.sha256}  {wheel.name}"))
