"""What huggingface_hub raises, in this program's errors. Imports huggingface_hub: only for use after it was needed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import httpx2
from huggingface_hub import errors as hub

from modeldist.errors import (
    AccessDenied,
    InvalidReference,
    ModeldistError,
    NotFound,
    OriginProtocolError,
    OriginUnavailable,
)
from modeldist.origins.http_answers import Source, TryAgain, refusal
from modelpack.oci import unreachable


def as_ours(error: Exception, reference: str, page: str, remedies: Mapping[int, str]) -> Exception:
    """A ModeldistError, or TryAgain where asking again may help."""
    if isinstance(error, ModeldistError | TryAgain):
        return error
    if isinstance(error, hub.HfHubHTTPError):
        return _from_answer(error, reference, page, remedies)
    if isinstance(error, hub.OfflineModeIsEnabled):
        return OriginUnavailable(
            f"{reference}: huggingface_hub is in offline mode.", remedy="Unset HF_HUB_OFFLINE to reach the hub."
        )
    if isinstance(error, hub.HFValidationError):
        return InvalidReference(f"{reference}: {error}", remedy="Write hf://org/model@revision.")
    if isinstance(error, httpx2.TransportError | OSError) and not isinstance(error, hub.FileMetadataError):
        away = OriginUnavailable(
            f"{reference}: {page} cannot be reached: {unreachable.reason(error) or error}.",
            remedy="Check the network, the proxy settings and HF_ENDPOINT.",
        )
        return away if unreachable.is_unknown_name(error) else TryAgain(away, stranger=unreachable.refusal(error) != 0)
    return OriginProtocolError(
        f"{reference}: {page} does not answer like a hub ({error}).", remedy="Check HF_ENDPOINT."
    )


def _from_answer(error: hub.HfHubHTTPError, reference: str, page: str, remedies: Mapping[int, str]) -> Exception:
    status = error.response.status_code
    source = Source(page, reference, 0, remedies=remedies)
    if isinstance(error, hub.RevisionNotFoundError):
        return NotFound(f"{reference}: the repository has no such revision.", remedy="Check the part after @.")
    if isinstance(error, hub.DisabledRepoError):
        return AccessDenied(f"{reference}: the repository is disabled.", remedy=f"See {page}.")
    if isinstance(error, hub.RepositoryNotFoundError) and not isinstance(error, hub.GatedRepoError):
        status = 404  # a hub answers 401 for what is missing or private, to those without a token
    headers = error.response.headers
    return refusal(status, lambda name: headers.get(name, ""), source, lambda: datetime.now(UTC))
