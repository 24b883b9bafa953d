"""Registry references in this program's errors and one spelling."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from modeldist.origins.modelpack_errors import in_our_words
from modelpack.oci.addresses import host_of, is_loopback
from modelpack.reference import Reference


def parse_reference(text: str, default_registry: str) -> Reference:
    """The registry in lower case. Raises InvalidReference."""
    with in_our_words(text):
        ref = Reference.parse(text, default_registry)
    return replace(ref, registry=ref.registry.lower())


def endpoint_of(registry: str, plain_http: Collection[str]) -> str:
    """The registry's base URL, as modelpack's client speaks to it."""
    plain = registry in plain_http or is_loopback(host_of(registry))
    return f"http{'' if plain else 's'}://{registry}"
