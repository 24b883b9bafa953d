"""References: `registry/repository:tag@digest`, in the grammar of the OCI distribution project.

Imports nothing but `modelpack.digests` and `modelpack.errors`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Self

from modelpack.digests import digest_problem
from modelpack.errors import InvalidReference

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HOST_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_PORT = re.compile(r"[0-9]{1,5}")
_BARE_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_REPOSITORY = 255  # characters, as in the distribution project's reference package
_MAX_HOST = 253  # characters of a DNS name

DOCKER_HUB = "docker.io"
_REMEDY = (
    "A reference looks like org/model:tag, registry.example:5000/org/model:tag or org/model@sha256:<64 hex digits>."
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository in a registry, with a tag, a digest, both (the digest decides) or neither.

    `registry` is a host with an optional port; `repository` the path within it. Build one with `parse`.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str, default_registry: str = DOCKER_HUB) -> Self:
        """Read what a user typed. A text that names no registry means `default_registry`.

        Raises InvalidReference naming the part that is wrong.
        """
        _check_whole(text)
        rest, at, digest = text.partition("@")
        if at and (problem := digest_problem(digest)):
            raise _invalid(text, f"{digest[:80]!r} is not a digest: {problem}")
        name, tag = _split_tag(rest)
        if tag is not None and not _TAG.fullmatch(tag):
            raise _invalid(text, _tag_problem(tag))
        registry, repository = _split_registry(name, default_registry)
        if problem := _registry_problem(registry):
            raise _invalid(text, problem)
        if registry in (DOCKER_HUB, "index.docker.io"):
            registry = DOCKER_HUB
            repository = repository if "/" in repository else f"library/{repository}"
        if problem := _repository_problem(repository):
            raise _invalid(text, problem)
        if _BARE_DIGEST.fullmatch(text):
            raise _invalid(text, "it is only a digest, without a repository")
        return cls(registry, repository, tag, digest if at else None)

    @property
    def name(self) -> str:
        """`registry/repository`, without a version."""
        return f"{self.registry}/{self.repository}"

    @property
    def version(self) -> str:
        """What to ask the registry for: the digest if there is one, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    def with_digest(self, digest: str) -> Self:
        """The same repository and tag pinned to `digest`. Raises InvalidReference on a malformed digest."""
        if problem := digest_problem(digest):
            raise _invalid(digest, f"it is not a digest: {problem}")
        return replace(self, digest=digest)

    def with_tag(self, tag: str) -> Self:
        """The same repository at `tag`, unpinned. Raises InvalidReference on a malformed tag."""
        if not _TAG.fullmatch(tag):
            raise _invalid(tag, _tag_problem(tag))
        return replace(self, tag=tag, digest=None)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def _check_whole(text: str) -> None:
    if not text:
        raise _invalid(text, "it is empty")
    if any(character.isspace() or not character.isprintable() for character in text):
        raise _invalid(text, "it contains white space or control characters")
    if "://" in text:
        raise _invalid(text, "it starts with a scheme, and a registry reference has none")


def _split_tag(text: str) -> tuple[str, str | None]:
    """A colon after the last slash starts the tag; earlier ones belong to the port or an IPv6 address."""
    colon = text.rfind(":")
    if colon > text.rfind("/") and not text.endswith("]"):
        return text[:colon], text[colon + 1 :]
    return text, None


def _split_registry(name: str, default_registry: str) -> tuple[str, str]:
    """The first component is a registry when it could not be part of a repository: a dot, a colon, a capital
    letter, or the name localhost."""
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or any(c in first for c in ".:[") or first.lower() != first):
        return first, rest
    return default_registry, name


def _registry_problem(registry: str) -> str:
    if registry.startswith("["):
        host, bracket, after = registry[1:].partition("]")
        if not bracket or not _is_ipv6(host):
            return f"{registry[:80]!r} is not an IPv6 address in brackets"
        colon, port = after[:1], after[1:]
    else:
        host, colon, port = registry.partition(":")
        if len(host) > _MAX_HOST or not all(_HOST_LABEL.fullmatch(label) for label in host.split(".")):
            return f"{registry[:80]!r} is not a registry's host name"
    if colon and (colon != ":" or not _PORT.fullmatch(port) or int(port) > 65535):
        return f"{port[:20]!r} is not a port of the registry {host!r}"
    return ""


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _repository_problem(repository: str) -> str:
    if not repository:
        return "it names no repository"
    if len(repository) > _MAX_REPOSITORY:
        return f"the repository has {len(repository)} characters and at most {_MAX_REPOSITORY} are allowed"
    if repository.lower() != repository:
        return f"the repository {repository!r} has capital letters, and a repository is written in lowercase"
    for component in repository.split("/"):
        if not component:
            return f"the repository {repository!r} has an empty part between slashes"
        if not _COMPONENT.fullmatch(component):
            return (
                f"{component!r} is not a part of a repository: lowercase letters and digits, separated by one dot, "
                "one or two underscores, or dashes"
            )
    return ""


def _tag_problem(tag: str) -> str:
    if not tag:
        return "the tag after the colon is empty"
    if len(tag) > 128:
        return f"the tag has {len(tag)} characters and at most 128 are allowed"
    return f"{tag!r} is not a tag: letters, digits, underscores, dots and dashes, not starting with a dot or dash"


def _invalid(text: str, problem: str) -> InvalidReference:
    return InvalidReference(f"{text[:200]!r} is not a valid reference: {problem}.", remedy=_REMEDY)
