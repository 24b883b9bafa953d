"""Names of snapshots: a Hugging Face repo id (`namespace/name`) for every place a model can come from.

Distinct places never share one: where the readable form could belong to two, eight digits of a hash are appended.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import product

MAX_REPO_ID = 96  # characters; huggingface_hub refuses longer names
_HASH = 8  # hex digits
_REGISTRY = re.compile(r"(?P<host>[a-z0-9]+(?:[.-][a-z0-9]+)*)(?::(?P<port>\d+))?")
_LOOKS_LIKE_PORT = re.compile(r"-\d{1,5}$")
_LOOKS_HASHED = re.compile(rf"-[0-9a-f]{{{_HASH}}}$")
_PORT = re.compile(r"(.+)-(\d{1,5})")
_DEEPEST = 5  # names between a registry and the last one that are put together again
_FOREIGN = re.compile(r"[^A-Za-z0-9._-]+")


def of_repository(registry: str, repository: str) -> str:
    """`registry.example`, `org/model` -> `registry.example.org/model`; a port's colon becomes a dash.

    The hash is left out only where registry and repository can be read back from the result.
    """
    organisation, _, name = repository.rpartition("/")
    namespace = f"{registry.replace(':', '-')}.{organisation}".rstrip(".")
    readable = f"{namespace}/{name}"
    host = _REGISTRY.fullmatch(registry)
    plain = (
        host is not None
        and (host["port"] is not None or not _LOOKS_LIKE_PORT.search(host["host"]))
        and organisation != ""
        and not set("/.") & set(organisation)
        and not _LOOKS_HASHED.search(name)
        and _valid(readable)
    )
    return readable if plain else _hashed(namespace.replace("/", "."), name, f"{registry}/{repository}")


def repositories(repo_id: str) -> Iterator[tuple[str, str]]:
    """The registries and repositories that have this name, as far as they can be read back. Where it has a hash, that
    says which slashes became dots; what became something else, or was cut, is not found."""
    namespace, _, name = repo_id.partition("/")
    labels = namespace.split(".")
    plain = _LOOKS_HASHED.sub("", name)
    for end in range(len(labels), 0, -1):
        host, rest = ".".join(labels[:end]), labels[end:]
        port = _PORT.fullmatch(host)
        registries = [registry for registry in (f"{port[1]}:{port[2]}" if port else "", host) if registry]
        for last in dict.fromkeys((plain, name)):
            for repository in _joined(rest, last):
                for registry in registries:
                    if of_repository(registry, repository) == repo_id:
                        yield registry, repository


def _joined(names: list[str], last: str) -> Iterator[str]:
    if len(names) > _DEEPEST:
        return
    for marks in product("/.", repeat=max(0, len(names) - 1)):
        organisation = "".join(name + mark for name, mark in zip(names, (*marks, ""), strict=False))
        yield f"{organisation}/{last}" if organisation else last


def of_place(namespace: str, name: str, identity: str) -> str:
    """For places that are no repositories (a URL, a directory): always with the hash of `identity`."""
    return _hashed(namespace, name, identity)


def _valid(repo_id: str) -> bool:
    return (
        len(repo_id) <= MAX_REPO_ID
        and "--" not in repo_id
        and ".." not in repo_id
        and not repo_id.endswith(".git")
        and not _FOREIGN.search(repo_id.replace("/", "", 1))
    )


def _hashed(namespace: str, name: str, identity: str) -> str:
    digits = hashlib.sha256(identity.encode()).hexdigest()[:_HASH]
    name = _clean(name)[: MAX_REPO_ID // 2]
    namespace = _clean(namespace)[: MAX_REPO_ID - len(name) - len(digits) - 2]
    return f"{namespace.strip('-._') or 'model'}/{name.strip('-._') or 'model'}-{digits}"


def _clean(text: str) -> str:
    text = _FOREIGN.sub("-", text)
    return re.sub(r"\.{2,}", ".", re.sub(r"-{2,}", "-", text)).strip("-._")
