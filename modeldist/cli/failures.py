"""Errors of modelpack as ours, so that every failure has one sentence and one exit code."""

from __future__ import annotations

import sys

from modeldist import errors
from modeldist.errors import ModeldistError

_CLASSES: dict[str, type[ModeldistError]] = {
    "InvalidReference": errors.InvalidReference,
    "InvalidManifest": errors.OriginProtocolError,
    "InvalidConfig": errors.OriginProtocolError,
    "UnsafeName": errors.UnsafeArtifact,
    "InvalidTar": errors.UnsafeArtifact,
    "UnsupportedArtifact": errors.Unsupported,
    "DigestMismatch": errors.IntegrityError,
    "SizeMismatch": errors.IntegrityError,
    "InvalidSafetensors": errors.IntegrityError,
    "BuildError": errors.UsageError,
    "LayoutError": errors.NotFound,
    "RegistryUnauthorized": errors.AuthenticationRequired,
    "RegistryForbidden": errors.AccessDenied,
    "RegistryNotFound": errors.NotFound,
    "RegistryRateLimited": errors.RateLimited,
    "RegistryUnavailable": errors.OriginUnavailable,
    "RegistryProtocolError": errors.OriginProtocolError,
    "RegistryError": errors.OriginError,
}
"""modelpack's error classes by name (most derived first wins): modelpack is not imported just to fail."""


def known_failure(error: BaseException) -> ModeldistError | None:
    """`error` as an error of ours; None for what is a bug."""
    if isinstance(error, ModeldistError):
        return error
    root = getattr(sys.modules.get("modelpack.errors"), "ModelPackError", None)
    if root is None or not isinstance(error, root):
        return None
    cls = next((_CLASSES[each.__name__] for each in type(error).__mro__ if each.__name__ in _CLASSES), ModeldistError)
    message, remedy = getattr(error, "message", str(error)), getattr(error, "remedy", "")
    return cls(message, remedy=remedy, retry_after=getattr(error, "retry_after", None))
