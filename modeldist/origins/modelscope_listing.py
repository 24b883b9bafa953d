"""What ModelScope answers when it is asked for the files of a repository. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from modeldist.errors import UNDECODABLE, NotFound, OriginProtocolError
from modeldist.origins.http_answers import Source, refusal

MOST_ENTRIES = 3000
"""Of one answer: what is more is left out without a word (`REPO_FILES_TRUNCATION_LIMIT` of modelscope_hub 0.5)."""

_NOT_LIKE_IT = "Check MODELSCOPE_ENDPOINT."


class Entry(msgspec.Struct, rename="pascal", frozen=True):
    """`type`: "blob" for a file, "tree" for a folder. `path` from the root of the repository."""

    path: str
    type: str = "blob"
    size: int = 0
    sha256: str | None = None


class _Answer(msgspec.Struct, rename="pascal"):
    code: int
    success: bool = True
    message: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Files(msgspec.Struct, rename="pascal"):
    files: list[Entry] | None = None


def entries_of(body: bytes, source: Source) -> list[Entry]:
    """Of an answer to `source` with status 200, whose body may say otherwise. Raises OriginError, TryAgain."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        if answer.code == 200 and answer.success:
            found = msgspec.json.decode(answer.data, type=_Files | None)
            return (found.files if found else None) or []
    except UNDECODABLE as error:
        raise OriginProtocolError(
            f"{source.label}: the origin does not answer like ModelScope ({error}).", remedy=_NOT_LIKE_IT
        ) from error
    if 400 <= answer.code < 600:
        raise refusal(answer.code, lambda _: "", source, lambda: datetime.now(UTC))
    raise NotFound(
        f"{source.label}: the origin does not list it: {(answer.message or 'no reason given')[:200]} ({answer.code}).",
        remedy=source.remedies.get(404, ""),
    )
