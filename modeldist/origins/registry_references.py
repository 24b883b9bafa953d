"""Registry references in this program's errors and one spelling."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from modeldist.errors import InvalidReference
from modeldist.origins.modelpack_errors import in_our_words
from modelpack.oci.addresses import host_of, is_loopback
from modelpack.reference import Reference

_HUB_MODEL = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?", re.ASCII)


def parse_reference(text: str, default_registry: str) -> Reference:
    """The registry in lower case. Raises InvalidReference."""
    try:
        with in_our_words(text):
            ref = Reference.parse(text, default_registry)
    except InvalidReference as error:
        raise InvalidReference(error.message, remedy=otherwise(text) or error.remedy) from error
    return replace(ref, registry=ref.registry.lower())


def otherwise(text: str) -> str:
    """What to write where `text` was meant for no registry; empty when nothing suggests that."""
    if text.startswith(("/", "./", "../", "~")) or text in (".", ".."):
        return "A file or directory of this machine is written file:///absolute/path."
    if _HUB_MODEL.fullmatch(text):
        return f"A model on Hugging Face is written hf://{text}."
    return ""


def endpoint_of(registry: str, plain_http: Collection[str]) -> str:
    """The registry's base URL, as modelpack's client speaks to it."""
    plain = registry in plain_http or is_loopback(host_of(registry))
    return f"http{'' if plain else 's'}://{registry}"
