"""Which of the hub's requests a URL is."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from urllib.parse import unquote

Kind = Literal["info", "tree", "paths-info", "resolve"]

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_OF_A_REVISION: dict[str, Kind] = {"revision": "info", "tree": "tree", "paths-info": "paths-info"}


class HubRequest(NamedTuple):
    """`path`: of a file or, for a tree, a directory (empty: the root)."""

    kind: Kind
    repo: str
    revision: str
    path: str = ""


def parse(raw_path: str) -> HubRequest | None:
    """The request of a path as it was sent: a revision's own slashes are escaped in it. None: none that is known."""
    parts = [unquote(part) for part in raw_path.removeprefix("/").split("/")]
    api = parts[:2] == ["api", "models"]
    names, rest = _repository(parts[2:] if api else parts, _OF_A_REVISION if api else {"resolve": "resolve"})
    repo = "/".join(names)
    if not names or len(repo) > 96 or "--" in repo or ".." in repo or not all(map(_NAME.fullmatch, names)):
        return None
    if not rest:
        return HubRequest("info", repo, "main") if api else None
    word, revision, path = rest[0], rest[1] if len(rest) > 1 else "", "/".join(rest[2:])
    if not revision or _leads_elsewhere(revision) or _leads_elsewhere(path):
        return None
    if not api:
        return HubRequest("resolve", repo, revision, path) if path else None
    kind = _OF_A_REVISION[word]
    return None if path and kind != "tree" else HubRequest(kind, repo, revision, path.rstrip("/"))


def _leads_elsewhere(path: str) -> bool:
    """No commit has such a path, and in a URL of the hub it may mean another repository."""
    return any(name in (".", "..") for name in path.split("/")) or any(c < " " or c == "\x7f" for c in path)


def _repository(parts: list[str], words: dict[str, Kind]) -> tuple[list[str], list[str]]:
    """(the names of a repository, what follows): `name` or `namespace/name`. No names: something else."""
    for count in (1, 2):
        if len(parts) > count and parts[count] in words:
            return parts[:count], parts[count:]
    whole = "resolve" not in words and len(parts) <= 2
    return (parts, []) if whole else ([], [])
