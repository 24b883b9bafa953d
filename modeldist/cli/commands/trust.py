"""`modeldist trust`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from modeldist.cli import options
from modeldist.cli.boundary import Command, fail
from modeldist.cli.places import LayoutPlace, place
from modeldist.cli.terminal import put, put_json
from modeldist.errors import UsageError

if TYPE_CHECKING:
    from modelpack.reference import Reference
    from modelpack.trust.evidence import Evidence, Form
    from modelpack.trust.policy import Policy, Rule

_FORMS = ("bundle", "legacy", "openssf")


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@options.policy
@click.option("--key", "keys", type=options.PATH, multiple=True, metavar="FILE", help="Accept this public key.")
@click.option(
    "--accept",
    type=click.Choice(_FORMS),
    multiple=True,
    help="With --key, accept this form of signature (repeatable). [default: bundle]",
)
@options.registry
@options.plain_http
@options.as_json
def trust(
    reference: str,
    policy: Path | None,
    keys: tuple[Path, ...],
    accept: tuple[str, ...],
    registry: str | None,
    plain_http: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say whether a model's signatures are accepted, and by what.

    By a policy, or by a public key, as `cosign verify --key` does. Nothing but manifests and signatures is read. REF
    may also be a directory with a model.sig of OpenSSF model-signing, whose files are then read and compared. Exits
    with 21 when the model is refused.

    \b
    Example:
      modeldist trust registry.example/org/model:v1 --key release.pub
    """
    import asyncio

    from modeldist.origins.modelpack_errors import as_ours, in_our_words
    from modelpack.errors import Untrusted
    from modelpack.trust.judging import applying_rule, judge

    followed = _policy(policy, keys, accept)
    if (directory := Path(reference).expanduser()).is_dir():
        _directory(directory, followed, as_json=as_json)
        return
    where = place(reference, registry)
    with in_our_words(reference, "" if isinstance(where, LayoutPlace) else where.registry):
        name = f"oci-layout:{where.path}" if isinstance(where, LayoutPlace) else where.name
        rule = applying_rule(followed, name)
        evidence = asyncio.run(_evidence(where, plain_http))
        pinned = f"{name}@{evidence.digests[0]}"
        told = {"reference": pinned, "rule": rule.number, "signatures": _told(rule, evidence)}
        try:
            verdict = judge(followed, rule, name, evidence)
        except Untrusted as error:
            if not as_json:
                raise
            refusal = as_ours(error, reference)
            put_json({**told, "accepted": False, "error": refusal.info()})
            fail(refusal, as_json=False)
    if as_json:
        put_json({**told, "accepted": True})
    else:
        by = f"signed by {verdict.by} ({verdict.where})" if verdict.by else "allowed without a signature"
        put(f"{pinned}: {by}")


def _directory(directory: Path, policy: Policy, *, as_json: bool) -> None:
    """Hold a directory's files against the list in its model.sig. Raises Untrusted."""
    from modeldist.origins.modelpack_errors import in_our_words
    from modelpack.errors import Untrusted
    from modelpack.trust.bundles import MAX_BUNDLE, parse_bundle
    from modelpack.trust.judging import applying_rule, signed_payload
    from modelpack.trust.model_signing import SIGNATURE_FILE, signed_files

    with in_our_words(str(directory)):
        rule = applying_rule(policy, f"file://{directory.absolute()}")
        try:
            with (directory / SIGNATURE_FILE).open("rb") as file:
                raw = file.read(MAX_BUNDLE + 1)
        except OSError as error:
            raise Untrusted(
                f"{directory} has no {SIGNATURE_FILE} that can be read: {error.strerror}.",
                remedy="Sign it with OpenSSF model-signing.",
            ) from None
        by, payload = signed_payload(rule, parse_bundle(raw))
        files = signed_files(payload)
        files.check_directory(directory)
    if as_json:
        put_json({"directory": str(directory), "files": len(files.digests), "by": by, "accepted": True})
    else:
        put(f"{directory}: {len(files.digests)} files, signed by {by}")


def _policy(path: Path | None, keys: tuple[Path, ...], accept: tuple[str, ...]) -> Policy:
    from modeldist.cli.keys import public_key
    from modeldist.origins.trust_gate import policy_at
    from modelpack.trust.policy import Policy, Rule

    if keys:
        forms = cast("tuple[Form, ...]", accept or ("bundle",))
        rule = Rule(1, ("**",), tuple(public_key(key) for key in keys), accept=forms)
        return Policy(Path("(of --key)"), (rule,), "")
    if accept:
        raise UsageError("--accept is for --key.", remedy="A policy has `accept` in its rules.")
    if (found := policy_at(path)) is None:
        raise UsageError("Nothing says whose signatures count.", remedy="Give --policy or --key.")
    return found


async def _evidence(where: LayoutPlace | Reference, plain_http: tuple[str, ...]) -> Evidence:
    """Signatures of every form: what does not count is shown as well."""
    from modeldist.cli.registries import registry_client
    from modelpack.layout import OciLayout
    from modelpack.oci.transfer import fetch_model
    from modelpack.trust.evidence import gather
    from modelpack.trust.shelf import LayoutShelf, RegistryShelf

    if isinstance(where, LayoutPlace):
        layout = OciLayout.open(where.path)
        descriptor, manifest = layout.manifest(where.ref)
        digests = (layout.resolve(where.ref).digest, descriptor.digest)
        return await gather(
            LayoutShelf(layout), digests, manifest, layout.blobs.read(manifest.config, "config"), _forms()
        )
    async with registry_client(plain_http) as client:
        fetched, manifest = await fetch_model(where, client)
        top = (await client.head_manifest(where)).digest
        config = await client.get_blob(where, manifest.config, 4 << 20)
        return await gather(RegistryShelf(client, where), (top, fetched.digest), manifest, config, _forms())


def _forms() -> tuple[Form, ...]:
    return cast("tuple[Form, ...]", _FORMS)


def _told(rule: Rule, evidence: Evidence) -> list[dict[str, Any]]:
    from modelpack.errors import InvalidSignature
    from modelpack.trust.judging import check_signature

    told: list[dict[str, Any]] = []
    for found in evidence.found:
        try:
            form, by = check_signature(rule, evidence, found)
        except InvalidSignature as error:
            told.append({"where": found.where, "form": found.form, "accepted": False, "problem": error.message})
        else:
            told.append({"where": found.where, "form": form, "accepted": True, "by": by})
    return told
