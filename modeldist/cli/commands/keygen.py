"""`modeldist keygen`"""

from __future__ import annotations

import os
from pathlib import Path

import click

from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import put, put_json
from modeldist.errors import UsageError
from modeldist.file_failures import is_telling


@click.command(cls=Command)
@click.argument("name", metavar="NAME", default="modeldist")
@options.as_json
def keygen(name: str, as_json: bool) -> None:
    """Make a pair of keys to sign models with.

    Writes NAME.key, which stays secret, and NAME.pub, which policies name; ECDSA on P-256, in PEM. NAME.key is locked
    by the password in MODELDIST_KEY_PASSWORD, if there is one. Prints the paths of both, NAME.key first.

    \b
    Example:
      MODELDIST_KEY_PASSWORD=… modeldist keygen release
    """
    from modeldist.cli.keys import password
    from modelpack.trust.keys import generate

    secret, public = Path(f"{name}.key"), Path(f"{name}.pub")
    made = generate()
    _write(secret, made.pem(password()), 0o600)
    try:
        _write(public, made.public.pem(), 0o644)
    except BaseException:  # half a pair would be in the way of the next try
        secret.unlink(missing_ok=True)
        raise
    if as_json:
        put_json({"private": str(secret), "public": str(public), "fingerprint": made.public.fingerprint})
    else:
        put(f"{secret}\n{public}")


def _write(path: Path, data: bytes, mode: int) -> None:
    """All of it or nothing, and never over another key: what it signed could not be told from now on."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise UsageError(f"{path} is there already.", remedy="Choose another NAME, or remove it.") from None
    except OSError as error:
        if is_telling(error):
            raise
        raise UsageError(f"{path} cannot be written: {error.strerror}.", remedy="Choose another NAME.") from None
    try:
        with open(fd, "wb") as file:
            file.write(data)
    except OSError as error:
        path.unlink()
        error.filename = str(path)  # a write names none
        raise
