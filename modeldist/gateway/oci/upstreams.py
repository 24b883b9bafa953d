"""Which repository of which registry a request means, and whether it is one of those that are mirrored.

Whoever can reach the gateway makes the agent speak to the registries named here and to no other host.
"""

from __future__ import annotations

from collections.abc import Collection

from modeldist.errors import InvalidReference, UsageError
from modeldist.origins.registry_references import parse_reference
from modelpack.reference import DOCKER_HUB, Reference

_HUB_NAMES = frozenset({"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})


class NotMirrored(Exception):
    """The registry is none of those. The text says so."""


class Upstreams:
    """`allowed`: registries as references name them (`host[:port]`), or `*.domain` for all hosts of a domain.

    Raises UsageError when one of them is neither.
    """

    def __init__(self, default: str, allowed: Collection[str]) -> None:
        self._default = _canonical(default)
        named = [_canonical(registry) for registry in (allowed or (default,))]
        for registry in named:
            _check(registry)
        self._hosts = frozenset(registry for registry in named if not registry.startswith("*."))
        self._domains = tuple(registry[1:] for registry in named if registry.startswith("*."))

    @property
    def names(self) -> tuple[str, ...]:
        return (*sorted(self._hosts), *(f"*{domain}" for domain in self._domains))

    def repository(self, name: str, ns: str | None) -> Reference:
        """The repository that `name` is: of the registry `ns`, as containerd sends it along; else of the registry that
        is the name's first part, as in `registry.example/org/repo`, with `_` before a port; else of the default one.

        Raises NotMirrored, InvalidReference.
        """
        registry, repository = (ns, name) if ns else self._split(name)
        registry = _canonical(registry)
        ref = parse_reference(f"{registry}/{repository}", self._default)
        if ref.registry != registry:  # "ns" names no registry
            raise InvalidReference(f"{registry[:200]!r} is not a registry.", remedy="ns is a registry's host[:port].")
        if not self._allows(ref.registry):
            raise NotMirrored(
                f"This agent mirrors {', '.join(self.names)}, and not {ref.registry}. "
                f"Its operator can add it: --mirror {ref.registry}."
            )
        return ref

    def _split(self, name: str) -> tuple[str, str]:
        first, slash, rest = name.partition("/")
        host, underscore, port = first.partition("_")
        if slash and ("." in host or host == "localhost") and (not underscore or port.isdigit()):
            return (f"{host}:{port}" if underscore else host), rest
        return self._default, name

    def _allows(self, registry: str) -> bool:
        return registry in self._hosts or (":" not in registry and registry.endswith(self._domains))


def _canonical(registry: str) -> str:
    name = registry.strip().lower()
    return DOCKER_HUB if name in _HUB_NAMES else name


def _check(registry: str) -> None:
    plain = registry.removeprefix("*.")
    try:
        ref = parse_reference(f"{plain}/name", DOCKER_HUB)
        fits = ref.registry == plain and (plain == registry or (":" not in plain and "." in plain))
    except InvalidReference:
        fits = False
    if not fits:
        raise UsageError(
            f"{registry[:200]!r} is no registry to mirror.",
            remedy="Name it as references do, host[:port], or *.domain.example for all hosts of a domain.",
        )
