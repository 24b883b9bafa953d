"""A registry's answers as errors: what happened, to which thing, and what to do."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass

import httpx2

from modelpack.errors import (
    ModelPackError,
    RegistryError,
    RegistryForbidden,
    RegistryNotFound,
    RegistryProtocolError,
    RegistryRateLimited,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from modelpack.oci.deadlines import TooSlow
from modelpack.oci.retry import retry_after_seconds
from modelpack.oci.unreachable import caused_by, is_unknown_name, reason, refusal
from modelpack.reference import Reference

TRANSIENT_STATUS = frozenset({500, 502, 503, 504})
MAX_ERROR_BODY = 64 * 1024  # bytes read of an error answer


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request is about. `what`: "manifest", "blob", "upload", "tags", "referrers" or "registry"."""

    reference: Reference
    what: str
    digest: str = ""

    @property
    def registry(self) -> str:
        return self.reference.registry

    def __str__(self) -> str:
        if self.what == "registry":
            return self.registry
        if self.digest:
            return f"{self.what} {self.digest} of {self.reference.name}"
        if self.what == "manifest":
            version = f"@{self.reference.digest}" if self.reference.digest else f":{self.reference.version}"
            return f"{self.reference.name}{version}"
        return f"{self.what} of {self.reference.name}"


def error_codes(body: bytes) -> list[tuple[str, str]]:
    """(code, message) of the distribution specification's error document; empty for anything else."""
    try:
        errors = json.loads(body)["errors"]
        return [(_printable(str(error.get("code", ""))), _printable(str(error.get("message", "")))) for error in errors]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def error_for(response: httpx2.Response, body: bytes, subject: Subject, *, with_credentials: bool) -> RegistryError:
    """The error that a final answer means."""
    status, codes = response.status_code, error_codes(body)
    said = f" It said: {codes[0][1] or codes[0][0]}." if codes else ""
    registry = subject.registry
    if status == 401:
        return unauthorized(subject, with_credentials=with_credentials)
    if status == 403:
        return RegistryForbidden(
            f"{registry} denies access to {subject}.{said}",
            remedy="Ask its owner for access, or log in as someone who has it.",
        )
    if status == 404:
        return _not_found({code for code, _ in codes}, subject)
    if status == 429:
        wait = retry_after_seconds(response.headers.get("Retry-After"))
        until = f" for {wait:.0f} seconds" if wait is not None else ""
        return RegistryRateLimited(
            f"{registry} limits requests and refused {subject}.",
            remedy=f"Wait{until} and try again, or log in: accounts usually have a higher limit.",
            retry_after=wait,
        )
    if status in TRANSIENT_STATUS:
        return RegistryUnavailable(
            f"{registry} answers {status} for {subject}.{said}", remedy="Try again later, or ask its operator."
        )
    return RegistryProtocolError(
        f"{registry} answers {status} for {subject}.{said}",
        remedy="Check that this is an OCI registry and accepts this kind of artifact.",
    )


def unauthorized(subject: Subject, *, with_credentials: bool) -> RegistryUnauthorized:
    problem = "refuses the credentials for" if with_credentials else "asks for credentials for"
    return RegistryUnauthorized(
        f"{subject.registry} {problem} {subject}.",
        remedy=f"Log in to {subject.registry} (docker login {subject.registry}) or check the repository's name: "
        "some registries answer like this for names that do not exist.",
    )


def connection_error(error: Exception, subject: Subject) -> RegistryError:
    """What a transport failure means. The error must be raised `from` the transport's own, see `may_pass`."""
    registry = subject.registry
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.DecodingError):
        return RegistryProtocolError(
            f"{registry} broke off in the middle of {subject} ({_printable(str(error))}).",
            remedy="Try again; if it repeats, the registry or a proxy before it is damaged.",
        )
    if caused_by(error, ssl.SSLCertVerificationError):
        return RegistryUnavailable(
            f"The certificate of {registry} cannot be verified ({_printable(str(error))}), asked for {subject}.",
            remedy="Set SSL_CERT_FILE to its authority's certificate, or correct the registry's name.",
        )
    if isinstance(error, TooSlow):
        return RegistryUnavailable(
            f"Waited in vain for {subject}: {error}.",
            remedy="Try again later; if it repeats, check the network and the proxy settings, or ask its operator.",
        )
    if isinstance(error, httpx2.TimeoutException):
        why = "it did not answer in time"
    else:
        why = reason(error) or _printable(str(error)) or type(error).__name__
    return RegistryUnavailable(
        f"{registry} cannot be reached for {subject}: {why}.",
        remedy="Check the registry's name, the network and the proxy settings.",
    )


def may_pass(error: ModelPackError) -> bool:
    """Whether the same request can succeed a moment later."""
    if isinstance(error, RegistryRateLimited):
        return True
    if isinstance(error, RegistryUnavailable):
        cause = error.__cause__
        lasting = caused_by(cause, ssl.SSLError) or is_unknown_name(cause)
        return not lasting
    return isinstance(error.__cause__, httpx2.TransportError)


def is_refusal(error: ModelPackError) -> bool:
    """Whether it was said at once that no connection is to be had: nothing listens there, or no way leads there."""
    return isinstance(error, RegistryUnavailable) and refusal(error.__cause__) != 0


def _not_found(codes: set[str], subject: Subject) -> RegistryNotFound:
    reference = subject.reference
    if "NAME_UNKNOWN" in codes:
        return RegistryNotFound(
            f"{subject.registry} has no repository {reference.repository}, asked for {subject}.",
            remedy="Check the repository's name.",
            what="repository",
        )
    if subject.what == "manifest":
        version = f"manifest {reference.digest}" if reference.digest else f"tag {reference.version}"
        sure = "MANIFEST_UNKNOWN" in codes
        return RegistryNotFound(
            f"{subject.registry} has no {version} in the repository {reference.repository}.",
            remedy="Check the tag." if sure and not reference.digest else "Check the repository's name and version.",
            what="manifest",
        )
    return RegistryNotFound(
        f"{subject.registry} has no {subject}.",
        remedy="The artifact is incomplete in the registry: its publisher must push it again."
        if subject.what == "blob"
        else "Check the repository's name.",
        what=subject.what,
    )


def _printable(text: str) -> str:
    """At most 200 printable characters of what a stranger wrote."""
    return "".join(character if character.isprintable() else " " for character in text[:200]).strip().rstrip(".")
