"""The name a certificate is for: a node's id, as a URI, and never an address.

A program that trusts the authority by mistake still takes such a certificate for no host: it names none.
"""

from __future__ import annotations

import re

_PREFIX = "urn:modeldist:node:"
_NODE = re.compile(r"[A-Za-z0-9._-]{1,128}")  # an agent's own are 32 hex digits


def is_node(text: str) -> bool:
    """Whether a certificate may name it."""
    return _NODE.fullmatch(text) is not None


def uri_of(node: str) -> str:
    return _PREFIX + node


def node_of(names: object) -> str:
    """The node that a verified certificate names; empty where it names none, or anything beside it. `names`: the
    `subjectAltName` of `ssl.SSLObject.getpeercert()`."""
    match names:
        case (("URI", str(uri)),) if uri.startswith(_PREFIX) and is_node(node := uri.removeprefix(_PREFIX)):
            return node
        case _:
            return ""
