"""Checks that a layout holds what its manifest promises: sizes, digests, diffIds, and the tree the layers make."""

from __future__ import annotations

import msgspec

from modelpack.artifact import ModelArtifact, ModelFile, read_artifact
from modelpack.deviations import CONFIG_BLOB, Deviations, Mode, pointer_to
from modelpack.errors import DigestMismatch, UnsupportedArtifact
from modelpack.imagelayers import Select, unpacking_order
from modelpack.layout import OciLayout
from modelpack.manifest import Manifest
from modelpack.names import NameSet
from modelpack.tarlayer import DEFAULT_LIMITS, TarListing, tar_entries
from modelpack.tarsource import TarLimits


def verify_layout(
    layout: OciLayout, ref: str = "", *, mode: Mode = "strict", limits: TarLimits = DEFAULT_LIMITS
) -> ModelArtifact:
    """Read every byte of the model `ref` and check it; the artifact has what lenient mode let pass as deviations.

    The names of all layers are checked together, archives included, so that none can write through or over what
    another made. Raises every error of reading: LayoutError, InvalidManifest, InvalidConfig, UnsupportedArtifact,
    UnsafeName, InvalidTar, SizeMismatch, DigestMismatch.
    """
    _, manifest = layout.manifest(ref)
    artifact = read_artifact(manifest, layout.blobs.read(manifest.config, "config"), mode=mode)
    for layer in manifest.layers:
        layout.blobs.check(layer)
    deviations = Deviations(mode)
    deviations.extend(artifact.deviations)
    names = NameSet()
    for file in artifact.files:
        if file.encoding == "raw":
            names.add_file(file.path)
    archives = [file for file in artifact.files if file.encoding != "raw"]
    entries = 0
    for number, select in unpacking_order([file.subtree for file in archives]):
        listing = _listed(layout, archives[number], limits, names, select)
        entries += len(listing.entries)
        check_diff_id(artifact, manifest, archives[number], listing.diff_id, deviations)
    if artifact.dialect == "image" and not entries:
        raise UnsupportedArtifact(
            f"The container image holds nothing below /{archives[0].subtree}.",
            remedy="Only images that carry a model there can be read.",
        )
    return msgspec.structs.replace(artifact, deviations=deviations.found())


def _listed(layout: OciLayout, file: ModelFile, limits: TarLimits, names: NameSet, select: Select) -> TarListing:
    with layout.blobs.open(file.descriptor) as blob:
        return tar_entries(blob, file.encoding, limits=limits, links=True, names=names, select=select)


def check_diff_id(
    artifact: ModelArtifact, manifest: Manifest, file: ModelFile, diff_id: str, deviations: Deviations
) -> None:
    """Compressed layers only: `read_artifact` has compared the others, whose diffId is their digest."""
    promised = artifact.config.modelfs.diff_ids if artifact.config else ()
    if file.encoding == "tar" or len(promised) != len(manifest.layers):
        return
    number = manifest.layers.index(file.descriptor)
    expected = promised[number]
    if expected.startswith("sha256:") and expected != diff_id:
        message = f"The layer {file.descriptor.digest} unpacks to {diff_id} and the model config says {expected}."
        where = CONFIG_BLOB + pointer_to("modelfs", "diffIds", number)
        deviations.error("diff-id-mismatch", message, DigestMismatch, where, number)
