"""What a resolved artifact comes to, as the plan a person or a program reads."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from modeldist.artifact import Artifact, ArtifactFile
from modeldist.origins import selected
from modelpack.plan.files import Ranges


class FileView(msgspec.Struct, frozen=True, kw_only=True):
    """A file of which something will be there. Sizes in bytes; `ranges` are half-open, none: all of it. `source` is
    where its bytes are, as far as that can be said of it."""

    path: str
    digest: str
    size: int
    needed: int
    kind: str
    encoding: str
    ranges: Ranges = ()
    source: str = ""


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """What `reference` means, pinned, and which bytes of that are needed. `digest` is the artifact's own, `whole` that
    of the model it is a part of (the same where it is all of it). Sizes in bytes, the same content counted once;
    `moved` is what comes where nothing is here yet: of files of which ranges are needed, the whole chunks around these,
    as only those can be proven."""

    reference: str
    resolved: str
    digest: str
    whole: str
    selection: str
    size: int
    needed: int
    moved: int
    files: tuple[FileView, ...]
    notes: tuple[str, ...] = ()


def plan_view(reference: str, artifact: Artifact, moved: int) -> PlanView:
    """`moved` as in `PlanView`."""
    whole = selected.whole_of(artifact)
    return PlanView(
        reference=reference,
        resolved=artifact.reference,
        digest=artifact.digest,
        whole=whole.digest,
        selection=selected.split(artifact.reference)[1],
        size=artifact.whole_size,
        needed=artifact.needed,
        moved=moved,
        files=tuple(
            FileView(
                path=file.path,
                digest=file.digest,
                size=file.size,
                needed=_needed(file.ranges, file.size),
                kind=file.kind,
                encoding=file.encoding,
                ranges=file.ranges,
                source=_source(whole, file),
            )
            for file in artifact.files
        ),
        notes=artifact.warnings,
    )


def _needed(ranges: Ranges, size: int) -> int:
    return sum(stop - start for start, stop in ranges) if ranges else size


def _source(whole: Artifact, file: ArtifactFile) -> str:
    match whole.origin:
        case "oci":
            return f"{whole.endpoint}/v2/{whole.repository}/blobs/{file.digest}"
        case "oci-blobs":
            kind = "manifests" if file.locator else "blobs"
            return f"{whole.endpoint}/v2/{whole.repository}/{kind}/{file.digest}"
        case "huggingface":
            return f"{whole.endpoint}/{whole.repository}/resolve/{whole.revision}/{quote(file.locator)}"
        case "modelscope":
            from modeldist.origins.modelscope import address

            return address(whole, file)
        case "layout":
            return f"{whole.endpoint}/blobs/{file.digest.replace(':', '/')}"
        case _:
            return file.locator
