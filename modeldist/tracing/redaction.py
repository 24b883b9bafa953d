"""What may be told of a reference or a URL: neither who asks nor what a query lets them do."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_HUBS = ("hf", "modelscope")  # what stands before an @ there is a model's name
_PARTS = ("only=", "exclude=", "kind=", "tensor=", "rank=", "weights=")  # of a selection, behind a #
_LONGEST = 500  # characters


def shown(reference: str) -> str:
    """Without user, password, query and any fragment that is no selection."""
    scheme, colon, rest = reference.partition("://")
    if not _SCHEME.fullmatch(scheme) or not colon:
        scheme, colon, rest = "", "", reference
    rest, hash_, part = rest.partition("#")
    rest = rest.partition("?")[0]
    host, slash, path = rest.partition("/")
    if scheme not in _HUBS and (slash or colon):
        host = host.rpartition("@")[2]
    kept = hash_ + part if part.startswith(_PARTS) and "?" not in part and "://" not in part else ""
    return f"{scheme}{colon}{host}{slash}{path}{kept}"[:_LONGEST]
