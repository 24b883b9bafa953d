"""modelpack's errors in this program's words: the one place that says what each means to a user here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from modeldist import errors as ours
from modelpack import errors as theirs

_CLASSES: dict[type[theirs.ModelPackError], type[ours.ModeldistError]] = {
    theirs.InvalidReference: ours.InvalidReference,
    theirs.InvalidManifest: ours.OriginProtocolError,
    theirs.InvalidConfig: ours.OriginProtocolError,
    theirs.UnsafeName: ours.UnsafeArtifact,
    theirs.InvalidChunkIndex: ours.IntegrityError,
    theirs.InvalidChunkTable: ours.IntegrityError,
    theirs.InvalidPolicy: ours.InvalidPolicy,
    theirs.InvalidKey: ours.InvalidPolicy,
    theirs.InvalidSignature: ours.Untrusted,
    theirs.Untrusted: ours.Untrusted,
    theirs.InvalidTar: ours.UnsafeArtifact,
    theirs.InvalidSelection: ours.UsageError,
    theirs.InvalidSafetensors: ours.OriginProtocolError,
    theirs.InvalidGguf: ours.OriginProtocolError,
    theirs.InvalidTensorIndex: ours.OriginProtocolError,
    theirs.UnsupportedArtifact: ours.Unsupported,
    theirs.BuildError: ours.UsageError,
    theirs.SourceChanged: ours.Unsupported,
    theirs.DigestMismatch: ours.IntegrityError,
    theirs.SizeMismatch: ours.IntegrityError,
    theirs.LayoutError: ours.NotFound,
    theirs.DestinationError: ours.UsageError,
    theirs.RegistryUnauthorized: ours.AuthenticationRequired,
    theirs.RegistryForbidden: ours.AccessDenied,
    theirs.RegistryNotFound: ours.NotFound,
    theirs.RegistryRateLimited: ours.RateLimited,
    theirs.RegistryUnavailable: ours.OriginUnavailable,
    theirs.RegistryProtocolError: ours.OriginProtocolError,
}


def remedies(registry: str) -> dict[int, str]:
    """By HTTP status, for a registry."""
    return {
        401: f"Run `modeldist login {registry}`.",
        403: f"Ask for access, or log in as someone else: `modeldist login {registry}`.",
        404: "Pull again: the registry may have lost the blob, or be collecting garbage.",
        429: f"Wait, or log in for a higher limit: `modeldist login {registry}`.",
    }


def as_ours(error: theirs.ModelPackError, thing: str, registry: str = "") -> ours.ModeldistError:
    """The same failure, said of `thing` (a reference). Credentials are this program's own affair, so their remedies
    name its command; other remedies are kept."""
    kind = next((_CLASSES[cls] for cls in type(error).__mro__ if cls in _CLASSES), ours.OriginError)
    remedy = error.remedy
    if registry and isinstance(error, theirs.RegistryUnauthorized):
        remedy = remedies(registry)[401]
    elif registry and isinstance(error, theirs.RegistryForbidden):
        remedy = remedies(registry)[403]
    return kind(error.message, remedy=remedy, retry_after=getattr(error, "retry_after", None)).about(thing)


@contextmanager
def in_our_words(thing: str, registry: str = "") -> Iterator[None]:
    """Turn modelpack's errors raised inside into ours, said of `thing`."""
    try:
        yield
    except theirs.ModelPackError as error:
        raise as_ours(error, thing, registry) from error
