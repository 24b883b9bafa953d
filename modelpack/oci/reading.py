"""A typed model out of a registry, without a byte of its weights."""

from __future__ import annotations

from collections.abc import Mapping

from modelpack.artifact import read_artifact
from modelpack.blobs import MAX_SMALL_BLOB
from modelpack.deviations import Mode
from modelpack.manifest import Descriptor
from modelpack.oci.client import RegistryClient
from modelpack.oci.transfer import fetch_model
from modelpack.reading import ReadModel
from modelpack.reference import Reference


async def read_model(
    ref: Reference, client: RegistryClient, *, mode: Mode = "strict", labels: Mapping[str, str] | None = None
) -> ReadModel:
    """The model `ref`: three requests at most where no index stands between. As `modelpack.read_model`.

    Raises RegistryError, and what is wrong with the model.
    """
    fetched, manifest = await fetch_model(ref, client, labels)
    config = await client.get_blob(ref, manifest.config, MAX_SMALL_BLOB)
    descriptor = Descriptor(media_type=fetched.media_type, digest=fetched.digest, size=len(fetched.raw))
    return ReadModel(descriptor, manifest, read_artifact(manifest, config, mode=mode))
