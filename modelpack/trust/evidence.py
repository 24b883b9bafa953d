"""What a registry or a layout has to say for a model: the signatures that refer to its manifest.

Nothing here is believed; `judging` does that. No weight is read, only manifests and small blobs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from modelpack.errors import (
    ModelPackError,
    RegistryForbidden,
    RegistryRateLimited,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from modelpack.manifest import Descriptor, Manifest
from modelpack.mediatypes import FILEPATHS, TITLE
from modelpack.referrers import SIGSTORE_BUNDLE
from modelpack.trust.bundles import MAX_BUNDLE
from modelpack.trust.dsse import from_base64
from modelpack.trust.model_signing import SIGNATURE_FILE
from modelpack.trust.shelf import Shelf
from modelpack.trust.statements import SIMPLE_SIGNING

MAX_SIGNATURES = 64  # of one model that are looked at; whoever may push may push any number
MAX_TOGETHER = 64 * 1024 * 1024  # bytes of all that are looked at; a list of 100,000 files takes 16 MiB
COSIGN_SIGNATURE = "dev.cosignproject.cosign/signature"
"""Annotation of a layer under the legacy tag: the signature of that layer, in base64."""
_MAX_SIMPLE = 64 * 1024  # bytes of a simple signing payload
_ASK_AGAIN = (RegistryUnavailable, RegistryRateLimited, RegistryUnauthorized, RegistryForbidden)

Form = Literal["bundle", "legacy", "openssf"]
"""`bundle`: a sigstore bundle that refers to the manifest; `legacy`: under cosign's tag `sha256-<hex>.sig`; `openssf`:
of model-signing, as a bundle that refers to the manifest or as the model's file model.sig."""


@dataclass(frozen=True, slots=True)
class Found:
    """A signature, or what was meant to be one. `data`: a sigstore bundle, or of the form `legacy` a payload, whose
    `signatures` are beside it. `problem`: why there is nothing to look at."""

    form: Form
    where: str
    data: bytes = field(default=b"", repr=False)
    signatures: tuple[bytes, ...] = field(default=(), repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Unread:
    form: Form
    where: str
    layer: Descriptor


@dataclass(frozen=True, slots=True)
class Evidence:
    """`digests` name the manifest, and the index it was found in, if it was: a signature of either counts for it."""

    digests: tuple[str, ...]
    manifest: Manifest = field(repr=False)
    config: bytes = field(repr=False)
    found: tuple[Found, ...] = ()


def legacy_tag(digest: str) -> str:
    """Where cosign until version 2 keeps signatures; not the fall-back tag of the referrers API."""
    return f"{digest.replace(':', '-')}.sig"


async def gather(
    shelf: Shelf, digests: Iterable[str], manifest: Manifest, config: bytes, forms: Collection[Form]
) -> Evidence:
    """Look for signatures of these forms. Raises what the shelf raises when it cannot be asked."""
    names = tuple(dict.fromkeys(digests))
    found: list[Found | _Unread] = []
    for digest in names:
        if "bundle" in forms or "openssf" in forms:
            for entry in (await shelf.referrers(digest, SIGSTORE_BUNDLE))[: MAX_SIGNATURES - len(found)]:
                found += await _bundles(shelf, entry)
        if "legacy" in forms:
            found += await _legacy(shelf, legacy_tag(digest))
    if "openssf" in forms:
        layers = [layer for layer in manifest.layers if _path(layer) == SIGNATURE_FILE]
        found[:0] = [_Unread("openssf", f"the file {SIGNATURE_FILE}", layer) for layer in layers[:1]]
    return Evidence(names, manifest, config, await _read_all(shelf, found[:MAX_SIGNATURES]))


async def _bundles(shelf: Shelf, entry: Descriptor) -> list[Found | _Unread]:
    where = f"the bundle {entry.digest}"
    try:
        about = await shelf.manifest(entry)
    except ModelPackError as error:
        return [_unreadable("bundle", where, error)]
    layers = about.layers if isinstance(about, Manifest) else ()
    return [_Unread("bundle", where, layer) for layer in layers[:1]]


async def _read_all(shelf: Shelf, found: Sequence[Found | _Unread]) -> tuple[Found, ...]:
    """The small ones first: whoever may push may push large ones in front of those that count."""
    read = {number: each for number, each in enumerate(found) if isinstance(each, Found)}
    unread = {number: each for number, each in enumerate(found) if isinstance(each, _Unread)}
    left = MAX_TOGETHER
    for number, each in sorted(unread.items(), key=lambda item: item[1].layer.size):
        if each.layer.size > left:
            read[number] = Found(
                each.form, each.where, problem=f"Not looked at: there are more than {MAX_TOGETHER} bytes of signatures."
            )
            continue
        read[number] = await _read(shelf, each.layer, each.form, each.where)
        left -= len(read[number].data)
    return tuple(read[number] for number in range(len(found)))


async def _legacy(shelf: Shelf, tag: str) -> list[Found]:
    try:
        about = await shelf.tagged(tag)
    except ModelPackError as error:
        return [_unreadable("legacy", f"the tag {tag}", error)]
    layers = about.layers if isinstance(about, Manifest) else ()
    signed = [layer for layer in layers if layer.media_type == SIMPLE_SIGNING][:MAX_SIGNATURES]
    return [await _simple(shelf, layer, f"{layer.digest} under the tag {tag}") for layer in signed]


async def _simple(shelf: Shelf, layer: Descriptor, where: str) -> Found:
    try:
        signature = from_base64(layer.annotations.get(COSIGN_SIGNATURE))
        return Found("legacy", where, await shelf.blob(layer, _MAX_SIMPLE), (signature,))
    except ModelPackError as error:
        return _unreadable("legacy", where, error)


async def _read(shelf: Shelf, layer: Descriptor, form: Form, where: str) -> Found:
    try:
        return Found(form, where, await shelf.blob(layer, MAX_BUNDLE))
    except ModelPackError as error:
        return _unreadable(form, where, error)


def _unreadable(form: Form, where: str, error: ModelPackError) -> Found:
    """A signature that is damaged is as good as none; a registry that cannot be asked now is another matter."""
    if isinstance(error, _ASK_AGAIN):
        raise error
    return Found(form, where, problem=error.message)


def _path(layer: Descriptor) -> str:
    return next((layer.annotations[key] for key in (*FILEPATHS, TITLE) if key in layer.annotations), "")
