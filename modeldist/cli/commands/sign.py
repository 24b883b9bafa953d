"""`modeldist sign`"""

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
    from modelpack.trust.keys import PrivateKey


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.option(
    "--key",
    "key_file",
    type=options.PATH,
    required=True,
    metavar="FILE",
    help="The private key: PEM, or cosign's. Its password is in MODELDIST_KEY_PASSWORD.",
)
@click.option("--legacy", is_flag=True, help="Sign under the tag sha256-….sig, too, for cosign before version 3.")
@options.registry
@options.plain_http
@options.as_json
def sign(
    reference: str,
    key_file: Path,
    legacy: bool,
    registry: str | None,
    plain_http: tuple[str, ...],
    as_json: bool,
) -> None:
    """Sign a model's manifest and put the signature beside it.

    REF is a reference, or oci-layout:DIR:TAG. The signature is a sigstore bundle that refers to the manifest, in the
    form of cosign 3, and is in no transparency log. Prints the pinned reference.

    \b
    Example:
      modeldist sign registry.example/org/model:v1 --key release.key
    """
    import asyncio

    from modeldist.cli.keys import private_key
    from modeldist.origins.modelpack_errors import in_our_words

    key = private_key(key_file)
    where = place(reference, registry)
    with in_our_words(reference, "" if isinstance(where, LayoutPlace) else where.registry):
        if not isinstance(where, LayoutPlace):
            pinned = asyncio.run(_in_registry(where, key, plain_http, legacy))
        elif legacy:
            raise UsageError(
                "A layout has no tags for signatures.", remedy="Leave --legacy out, or sign in a registry."
            )
        else:
            pinned = _in_layout(where, key)
    if as_json:
        put_json({"reference": pinned, "digest": pinned.rpartition("@")[2], "key": key.public.fingerprint})
    else:
        put(pinned)


async def _in_registry(ref: Reference, key: PrivateKey, plain_http: tuple[str, ...], legacy: bool) -> str:
    from modeldist.cli.registries import registry_client
    from modelpack.trust.signing import sign_in_registry

    async with registry_client(plain_http) as client:
        return f"{ref.name}@{await sign_in_registry(client, ref, key, legacy=legacy)}"


def _in_layout(where: LayoutPlace, key: PrivateKey) -> str:
    from modelpack.layout import OciLayout
    from modelpack.trust.signing import signature

    layout = OciLayout.open(where.path)
    subject = layout.resolve(where.ref)
    layout.add_referrer(signature(subject, key))
    return str(LayoutPlace(where.path, subject.digest))
