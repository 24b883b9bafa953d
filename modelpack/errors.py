"""Every failure of this library, grouped by cause.

    ModelPackError
    ├── InvalidReference         the text is not a reference
    ├── InvalidManifest          a manifest, index or descriptor that breaks image-spec 1.1
    ├── InvalidConfig            a model config that breaks the ModelPack schema
    ├── UnsafeName               a file name that would harm the machine or another file
    ├── UnsupportedArtifact      well formed, but no model this library can read
    ├── DigestMismatch           bytes are not what their digest says
    ├── SizeMismatch             a blob is longer or shorter than its descriptor says
    ├── InvalidChunkTable        a chunk table that breaks its format or contradicts the model's manifest
    ├── InvalidChunkIndex        a chunk index that breaks its format
    ├── InvalidTar               an archive that is damaged, hostile or too large
    ├── InvalidSafetensors       a safetensors header that breaks the format
    ├── InvalidGguf              a GGUF header that breaks the format
    ├── InvalidTensorIndex       an index of tensors that contradicts the files it speaks of
    ├── InvalidSelection         a selection that cannot be read, or contradicts the model
    ├── BuildError               a directory that cannot become a ModelPack
    │   ├── SourceChanged            a file that changed while it was read
    │   └── InvalidModelfile         a Modelfile or Kitfile that cannot be read, or names what is not there
    ├── LayoutError              a directory that is no OCI image layout, or lacks what was asked of it
    ├── DestinationError         a directory that files cannot be written to without losing what is there
    ├── TrustError               who vouches for a model
    │   ├── InvalidPolicy            a policy file that cannot be followed
    │   ├── InvalidKey               no key, a key of the wrong kind, or a wrong password
    │   ├── InvalidSignature         a signature document that is malformed, or does not prove what it says
    │   └── Untrusted                a model that no accepted signature vouches for
    └── RegistryError            the registry did not give what was asked
        ├── RegistryUnauthorized     401: credentials are missing or refused
        ├── RegistryForbidden        403: credentials are known but may not do this
        ├── RegistryNotFound         404: no such repository, tag, manifest or blob
        ├── RegistryRateLimited      429: asked for fewer requests and kept asking
        ├── RegistryUnavailable      no connection, or 5xx, after all retries
        └── RegistryProtocolError    truncated body, wrong length, redirect loop, malformed answer

`message` names the thing; `remedy` is one sentence that says what to do about it. Both can be shown on a terminal as
they are: names in them come from strangers, so what does not print is escaped and what is too long is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from modelpack.quoting import printable

if TYPE_CHECKING:
    from modelpack.deviations import Deviation


class ModelPackError(Exception):
    """Root of all errors raised on purpose by `modelpack`. `deviation`: what strict reading refused, for programs."""

    deviation: Deviation | None = None

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = printable(message)
        self.remedy = printable(remedy)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()


class InvalidReference(ModelPackError):
    """The text is not a reference."""


class InvalidManifest(ModelPackError):
    """A manifest, index or descriptor breaks image-spec 1.1 or a limit of this library."""


class InvalidConfig(ModelPackError):
    """A model config breaks the ModelPack schema."""


class UnsafeName(ModelPackError):
    """A file name would escape its directory, shadow another file, or cannot exist."""


class UnsupportedArtifact(ModelPackError):
    """Well formed, but not a model, or of a kind this library cannot read."""


class DigestMismatch(ModelPackError):
    """Bytes whose digest is not the promised one."""


class SizeMismatch(ModelPackError):
    """A blob longer or shorter than its descriptor says."""


class InvalidChunkIndex(ModelPackError):
    """A chunk index breaks its format."""


class InvalidChunkTable(ModelPackError):
    """A chunk table that breaks its format, its limits, or contradicts the manifest of the model it is of."""


class InvalidTar(ModelPackError):
    """An archive that is damaged, holds forbidden entries, or exceeds a limit."""

    def __init__(self, message: str, *, remedy: str = "The archive is refused as a whole; tell its publisher.") -> None:
        super().__init__(message, remedy=remedy)


class InvalidSafetensors(ModelPackError):
    """A safetensors header that breaks the format; `aspect` tells in which way."""

    aspect: Literal["header", "cap", "hole", "overlap", "shape", "length"] = "header"


class InvalidGguf(ModelPackError):
    """A GGUF header that breaks the format."""


class InvalidTensorIndex(ModelPackError):
    """An index of tensors that contradicts the files it speaks of."""


class InvalidSelection(ModelPackError):
    """A selection that cannot be read, or that contradicts the model it is made of."""


class BuildError(ModelPackError):
    """A directory that cannot become a ModelPack."""


class SourceChanged(BuildError):
    """A file that changed while it was read."""


class InvalidModelfile(BuildError):
    """A Modelfile or Kitfile that cannot be read, or that names files which are not there."""


class LayoutError(ModelPackError):
    """Not an OCI image layout, or it lacks what was asked of it."""


class DestinationError(ModelPackError):
    """A directory that files cannot be written to without losing what is there."""


class TrustError(ModelPackError):
    """Something about who vouches for a model."""


class InvalidPolicy(TrustError):
    """A policy file that is malformed, or names what is not there."""


class InvalidKey(TrustError):
    """Not a key, one of a kind that is not used, or locked by another password."""


class InvalidSignature(TrustError):
    """A signature document that is malformed, or does not prove what it says."""


class Untrusted(TrustError):
    """No accepted signature vouches for the model, and the policy asks for one."""


class RegistryError(ModelPackError):
    """The registry did not give what was asked."""


class RegistryUnauthorized(RegistryError):
    """401: credentials are missing or refused."""


class RegistryForbidden(RegistryError):
    """403: the credentials are known but may not do this."""


class RegistryNotFound(RegistryError):
    """404. `what` says which kind of thing is missing: "repository", "manifest", "blob", …"""

    def __init__(self, message: str, *, remedy: str = "", what: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.what = what


class RegistryRateLimited(RegistryError):
    """429 after all retries. `retry_after` is in seconds, None when the registry did not say."""

    def __init__(self, message: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class RegistryUnavailable(RegistryError):
    """The registry cannot be reached, or answers 5xx, after all retries."""


class RegistryProtocolError(RegistryError):
    """The answer breaks the protocol: truncated, wrong length, redirect loop, malformed document."""
