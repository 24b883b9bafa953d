"""Where the site has what links in the repository's documents lead to: documents, notebooks and source files.

A document may link to any file of the repository, as one does for readers of the repository itself. In the site such a
file is a page of its own under source/.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_FENCE = re.compile(r"^(\s*```.*?^\s*```[^\S\n]*$)", re.MULTILINE | re.DOTALL)
_SYNTAX = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".sh": "bash", ".json": "json"}


def site_path(path: str) -> str:
    """Of a file or directory of the repository: docs/rest.md is rest.md, pyproject.toml source/pyproject.toml.md."""
    path = path.rstrip("/")
    if path.startswith("docs/"):
        inside = path.removeprefix("docs/")
        return inside if (ROOT / path).is_file() or inside.endswith(".md") else f"{inside}/index.md"
    if path in PROJECT:
        return f"project/{path}"
    if path.startswith("notebooks/") and path.endswith(".png"):
        return path
    if path.startswith("notebooks/") and path.endswith(".ipynb"):
        return path.removesuffix(".ipynb") + ".md"
    return f"source/{path}/index.md" if (ROOT / path).is_dir() else f"source/{path}.md"


def linked(text: str, document: str) -> Iterator[str]:
    """Paths in the repository that a document links to: `document` is its own path there. Raises LookupError for a link
    that leads nowhere or out of the repository."""
    found: list[str] = []
    _each(text, lambda match: found.append(_target(match[2], document)) or match[0] if _ours(match[2]) else match[0])
    yield from found


def rewritten(text: str, document: str) -> str:
    """The document with links that lead to where the site has their targets."""
    here = posixpath.dirname(site_path(document))

    def link(match: re.Match[str]) -> str:
        if not _ours(match[2]):
            return match[0]
        return match[1] + posixpath.relpath(site_path(_target(match[2], document)), here or ".") + match[3]

    return _each(text, link)


def source_page(path: str) -> str:
    """The page of a source file, or of a directory."""
    file = ROOT / path
    title = f"# {path}\n\n"
    if file.is_dir():
        names = sorted(
            each.name + ("/" if each.is_dir() else "") for each in file.iterdir() if each.name[0] not in "._"
        )
        return title + "".join(f"- `{name}`\n" for name in names)
    return f"{title}~~~~~~{_SYNTAX.get(file.suffix, 'text')}\n{file.read_text().rstrip()}\n~~~~~~\n"


def _ours(target: str) -> bool:
    return not re.match(r"[a-z][a-z+.-]*:", target)


def _target(target: str, document: str) -> str:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(document), target))
    made = path.startswith("docs/") and path.endswith(".md")  # maybe by the site, as pictures of notebooks are
    made |= document.endswith(".ipynb") and path.endswith(".png")
    if path.startswith("..") or not (made or (ROOT / path).exists()):
        raise LookupError(f"{document} links to {target}, and there is no {path}")
    return path


def _each(text: str, link: Callable[[re.Match[str]], str]) -> str:
    """`text` with its links as `link` makes them; fenced blocks have none."""
    parts = _FENCE.split(text)
    return "".join(part if number % 2 else _LINK.sub(link, part) for number, part in enumerate(parts))
