"""Which request of the distribution API a URL is (distribution-spec 1.1, "Endpoints")."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["base", "token", "manifest", "blob", "tags", "referrers", "upload"]

_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
_PATHS: dict[Kind, re.Pattern[str]] = {
    "manifest": re.compile(rf"/v2/({_NAME})/manifests/([A-Za-z0-9_+.:=-]{{1,255}})"),
    "blob": re.compile(rf"/v2/({_NAME})/blobs/([A-Za-z0-9_+.-]+:[A-Za-z0-9=_-]{{1,255}})"),
    "tags": re.compile(rf"/v2/({_NAME})/tags/list()"),
    "referrers": re.compile(rf"/v2/({_NAME})/referrers/([A-Za-z0-9_+.-]+:[A-Za-z0-9=_-]{{1,255}})"),
    "upload": re.compile(rf"/v2/({_NAME})/blobs/uploads/(.*)"),
}
TOKENS = "/v2/_token"
"""Where tokens are given; no repository's name begins with an underscore."""
_LONGEST = 1024  # characters; a name has at most 255


class OciRequest(NamedTuple):
    """`name`: of a repository, as the client has it. `version`: a tag or a digest."""

    kind: Kind
    name: str = ""
    version: str = ""


def is_for_a_registry(path: str) -> bool:
    return path == "/v2" or path.startswith("/v2/")


def parse(path: str) -> OciRequest | None:
    """None: none that is known."""
    if path in ("/v2", "/v2/"):
        return OciRequest("base")
    if path == TOKENS:
        return OciRequest("token")
    if len(path) > _LONGEST:
        return None
    for kind, pattern in _PATHS.items():
        if found := pattern.fullmatch(path):
            return OciRequest(kind, found[1], found[2])
    return None
