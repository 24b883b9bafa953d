"""References to a part of a model: `org/model:tag#only=*.json&rank=tp=0/4`, and what they mean.

A part is an artifact of its own: its digest, revision and snapshot are not those of the whole, and so it is recorded,
listed, verified and removed as every other. Its shards are the whole's, so a later pull of more fetches only what is
missing. Origins know nothing of parts: `whole_of` gives them what they resolved.

What plans takes is imported when something is selected: asking whether a model is here must start fast.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from modeldist.artifact import Artifact, ArtifactFile, Digest, Part, SeenHeader
from modeldist.errors import InvalidReference
from modeldist.origins.identity import revision_of

if TYPE_CHECKING:
    from modeldist.origins.base import RangeReader
    from modelpack.plan.files import FetchPlan, PlannedFile

USUAL = "weights=sharded"
"""What a reference means that selects nothing: everything, but not the same weights twice."""

EVERYTHING = "weights=all"
"""What selects a model whole, with the same weights twice where it has them so."""

RULES = 1
"""Goes up with every change to what a selection or a rank comes to: parts that were chosen by other rules are planned
anew when somebody asks for them."""


def split(reference: str) -> tuple[str, str]:
    """(the whole's reference, the selection's text, as `Selection` writes it). Raises InvalidReference."""
    base, mark, fragment = reference.partition("#")
    if not mark:
        return reference, ""
    from modelpack.errors import InvalidSelection
    from modelpack.plan.selection import KEYS, Selection

    parts = fragment.split("&")
    own = [part for part in parts if part.partition("=")[0] in KEYS]
    others = "&".join(part for part in parts if part not in own)
    try:
        text = str(Selection.parse("&".join(own)))
    except InvalidSelection as error:
        raise InvalidReference(f"{reference[:200]!r}: {error.message}", remedy=error.remedy) from error
    return f"{base}#{others}" if others else base, text


def join(base: str, text: str) -> str:
    """The reference of a part; `base` itself where nothing is selected. Raises InvalidReference when it selects."""
    if not text:
        return base
    if split(base)[1]:
        raise InvalidReference(
            f"{base[:200]!r} selects already.", remedy="Select in the reference or by options, not both."
        )
    return f"{base}{'&' if '#' in base else '#'}{text}"


async def select(whole: Artifact, text: str, reader: Callable[[Artifact], RangeReader]) -> Artifact:
    """The part of `whole`, or `whole` itself where nothing is left out. Headers of weights are read where the selection
    goes by tensors. Raises InvalidReference, OriginError, IntegrityError."""
    if text == EVERYTHING or (not text and not any("consolidated" in file.path.lower() for file in whole.files)):
        return whole
    import asyncio

    plan, read = await asyncio.to_thread(_plan, whole, text, reader)
    return part_of(whole, plan, read)


def _plan(whole: Artifact, text: str, reader: Callable[[Artifact], RangeReader]) -> tuple[FetchPlan, int]:
    """The plan, and the bytes that were read for it."""
    from modeldist.origins.header_reads import HeaderReads
    from modeldist.origins.modelpack_errors import in_our_words
    from modelpack.errors import InvalidSelection
    from modelpack.plan.files import ListedFile
    from modelpack.plan.planning import plan_fetch
    from modelpack.plan.selection import Selection

    files = [ListedFile(f.path, f.digest, f.size, f.kind, f.encoding) for f in whole.files]
    provable = {chunks.digest for chunks in whole.chunks}
    try:
        with in_our_words(whole.reference), HeaderReads(whole, reader) as reads:
            plan = plan_fetch(
                files,
                Selection.parse(text),
                reads.open,
                provable=lambda digest: digest in provable,
                reference=whole.reference,
                digest=whole.digest,
            )
            return plan, reads.bytes
    except InvalidSelection as error:
        raise InvalidReference(f"{whole.reference}: {error.message}", remedy=error.remedy) from error


def part_of(whole: Artifact, plan: FetchPlan, read: int) -> Artifact:
    """What the plan leaves of `whole`, with an identity of its own. `read`: bytes of headers it took."""
    planned = {file.path: file for file in plan.files}
    files = tuple(_narrowed(file, planned[file.path]) for file in whole.files if file.path in planned)
    text = str(plan.selection)
    if files == whole.files and text in ("", USUAL, EVERYTHING):
        return whole
    text = text or USUAL
    digest = _digest(whole, text, files)
    kept = {file.digest for file in files}
    return msgspec.structs.replace(
        whole,
        reference=f"{whole.reference}{'&' if '#' in whole.reference else '#'}{text}",
        tag=whole.tag if text == USUAL else "",  # in the hub a tag names the model, not a part
        digest=digest,
        revision=revision_of(digest),
        files=files,
        chunks=tuple(chunks for chunks in whole.chunks if chunks.digest in kept),
        warnings=(*whole.warnings, *plan.notes),
        part=Part(whole.reference, whole.tag, whole.digest, whole.revision, plan.size, RULES, read),
    )


def whole_of(artifact: Artifact) -> Artifact:
    """The artifact as its origin resolved it, but for the files that were left out."""
    if (part := artifact.part) is None:
        return artifact
    return msgspec.structs.replace(
        artifact, reference=part.reference, tag=part.tag, digest=part.digest, revision=part.revision, part=None
    )


def text_of(artifact: Artifact) -> str:
    """The selection by which the whole gives just this."""
    return split(artifact.reference)[1] if artifact.part else EVERYTHING


def means(artifact: Artifact, text: str) -> bool:
    """Whether `artifact` is what this selection of its whole gives."""
    if artifact.part is None:
        return text in ("", USUAL, EVERYTHING)
    return artifact.part.rules == RULES and split(artifact.reference)[1] == (text or USUAL)


def _narrowed(file: ArtifactFile, planned: PlannedFile) -> ArtifactFile:
    if not planned.ranges:
        return file
    header = SeenHeader(planned.header.length, planned.header.digest) if planned.header else None
    return msgspec.structs.replace(file, ranges=planned.ranges, header=header)


def _digest(whole: Artifact, text: str, files: tuple[ArtifactFile, ...]) -> Digest:
    """Of what was asked for and what that came to: rules may change with the program, what a digest means must not."""
    chosen = [(file.path, file.digest, file.size, file.ranges, file.header) for file in files]
    return Digest("sha256:" + hashlib.sha256(msgspec.json.encode([whole.digest, text, chosen])).hexdigest())
