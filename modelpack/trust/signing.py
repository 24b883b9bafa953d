"""Sign a manifest with a local key, and put the signature where cosign finds it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import msgspec

from modelpack.errors import RegistryNotFound
from modelpack.manifest import Descriptor, Manifest, encode_manifest, parse_manifest
from modelpack.mediatypes import OCI_MANIFEST
from modelpack.reference import Reference
from modelpack.referrers import SIGSTORE_BUNDLE, Attachment, attachment
from modelpack.trust.bundles import make_bundle
from modelpack.trust.evidence import COSIGN_SIGNATURE, legacy_tag
from modelpack.trust.keys import PrivateKey
from modelpack.trust.statements import COSIGN_SIGN, SIMPLE_SIGNING, sign_statement, simple_signing

if TYPE_CHECKING:
    from modelpack.oci.client import RegistryClient

_IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
_ANNOTATIONS = {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": COSIGN_SIGN}


def signature(subject: Descriptor, key: PrivateKey) -> Attachment:
    """A sigstore bundle that refers to the manifest `subject`, as `cosign sign` makes it since version 3."""
    return attachment(subject, SIGSTORE_BUNDLE, make_bundle(sign_statement(subject.digest), key), _ANNOTATIONS)


async def sign_in_registry(client: RegistryClient, ref: Reference, key: PrivateKey, *, legacy: bool = False) -> str:
    """Sign what `ref` means now and push the signature. `legacy`: also under cosign's older tag. Returns the digest of
    the manifest that is signed. Raises RegistryError."""
    found = await client.get_manifest(ref)
    subject = Descriptor(media_type=found.media_type, digest=found.digest, size=len(found.raw))
    await client.attach(ref, signature(subject, key))
    if legacy:
        await _sign_under_tag(client, ref, subject.digest, key)
    return subject.digest


async def _sign_under_tag(client: RegistryClient, ref: Reference, digest: str, key: PrivateKey) -> None:
    """Add a layer to the image `sha256-<hex>.sig`, beside the signatures that are there."""
    tag = Reference(ref.registry, ref.repository, legacy_tag(digest))
    payload = simple_signing(digest, ref.name)
    layer = _blob(payload, SIMPLE_SIGNING)
    layer = msgspec.structs.replace(layer, annotations={COSIGN_SIGNATURE: base64.b64encode(key.sign(payload)).decode()})
    layers = (*(await _layers(client, tag)), layer)
    rootfs = {"type": "layers", "diff_ids": [one.digest for one in layers]}
    config = json.dumps({"architecture": "", "os": "", "config": {}, "rootfs": rootfs}).encode()
    manifest = Manifest(schema_version=2, media_type=OCI_MANIFEST, config=_blob(config, _IMAGE_CONFIG), layers=layers)
    for blob, data in ((layer, payload), (manifest.config, config)):
        await client.upload_blob(tag, data, blob.digest, blob.size)
    await client.put_manifest(tag, encode_manifest(manifest), OCI_MANIFEST)


async def _layers(client: RegistryClient, tag: Reference) -> tuple[Descriptor, ...]:
    try:
        found = await client.get_manifest(tag)
    except RegistryNotFound:
        return ()
    manifest = parse_manifest(found.raw, found.media_type)
    return manifest.layers if isinstance(manifest, Manifest) else ()


def _blob(data: bytes, media_type: str) -> Descriptor:
    from modelpack.digests import sha256_digest

    return Descriptor(media_type=media_type, digest=sha256_digest(data), size=len(data))
