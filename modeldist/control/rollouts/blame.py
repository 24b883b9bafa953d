"""Which failures of pulls speak against the version that pulled: all but those that any version would have had."""

from __future__ import annotations

from modeldist import errors

_NOT_ITS_FAULT = frozenset(
    error.code
    for error in (
        errors.AccessDenied,
        errors.AuthenticationRequired,
        errors.Cancelled,
        errors.DeadlineExceeded,
        errors.InvalidReference,
        errors.NotEnoughSpace,
        errors.NotFound,
        errors.OriginError,
        errors.OriginProtocolError,
        errors.OriginUnavailable,
        errors.Overloaded,
        errors.RateLimited,
        errors.UnsafeArtifact,
        errors.Unsupported,
        errors.Untrusted,
    )
)


def speaks_against(code: str) -> bool:
    """`code`: of the error that a pull failed with."""
    return code not in _NOT_ITS_FAULT
