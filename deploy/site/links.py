"""Every link of the built site leads somewhere: `python -m deploy.site.links SITE`.

Links and pictures within the site are followed, with their anchors. What leads out of it is not asked for, as there may
be no network: it has to be https, with a host and no spaces, and is listed with `--list`. Pages may load nothing from
elsewhere: the site works without a network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
_NOT_LOADED = {"canonical", "next", "prev", "alternate", "edit"}  # <link rel=…> that say where something is


@dataclass
class Page:
    """`links` are (target, whether the page loads it)."""

    anchors: set[str] = field(default_factory=set)
    links: list[tuple[str, bool]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("id", "name"):
            if value := given.get(name):
                self.page.anchors.add(value)
        if tag == "a" and given.get("href"):
            self.page.links.append((given["href"] or "", False))
        if (attribute := _LOADED.get(tag)) and (target := given.get(attribute)):
            self.page.links.append((target, not {*(given.get("rel") or "").split()} & _NOT_LOADED))


@dataclass
class Found:
    """`wrong` are sentences; `outside` what leads out of the site, with the first page that does."""

    pages: int = 0
    links: int = 0
    wrong: list[str] = field(default_factory=list)
    outside: dict[str, str] = field(default_factory=dict)


def check(site: Path) -> Found:
    pages = {path.relative_to(site).as_posix(): _read(path) for path in sorted(site.rglob("*.html"))}
    found = Found(len(pages))
    for name, page in pages.items():
        for target, loaded in page.links:
            found.links += 1
            for problem in _problems(site, pages, name, target, loaded, found.outside):
                found.wrong.append(f"{name}: {target}: {problem}")
    return found


def _read(path: Path) -> Page:
    page = Page({"", "top"})
    _Reader(page).feed(path.read_text())
    return page


def _problems(
    site: Path, pages: dict[str, Page], name: str, target: str, loaded: bool, outside: dict[str, str]
) -> Iterator[str]:
    parts = urlsplit(target)
    if parts.scheme in ("data", "mailto", "javascript"):
        return
    if parts.scheme or parts.netloc:
        outside.setdefault(target, name)
        if loaded:
            yield "a page that works without a network loads nothing from elsewhere"
        if parts.scheme != "https" or not parts.hostname or any(letter.isspace() for letter in target):
            yield "no https address"
        return
    # The page for what is not there is served from anywhere, so its links are absolute.
    base = site if parts.path.startswith("/") else (site / name).parent
    path = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else (site / name).resolve()
    if path.is_dir():
        path /= "index.html"
    if not path.is_file():
        yield "there is no such page"
        return
    if parts.fragment:
        there = pages.get(path.relative_to(site.resolve()).as_posix())
        if there is None or unquote(parts.fragment) not in there.anchors:
            yield "the page has no such anchor"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.site.links", description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--list", action="store_true", help="print what leads out of the site")
    options = parser.parse_args(arguments)
    found = check(options.site)
    for problem in found.wrong:
        print(problem, file=sys.stderr)
    if options.list:
        for target, page in sorted(found.outside.items()):
            print(f"{target}  ({page})")
    print(
        f"links: {found.links:,} on {found.pages} pages, {len(found.wrong)} wrong; "
        f"{len(found.outside)} lead out of the site and are https, not asked for"
    )
    return 1 if found.wrong or not found.pages else 0


if __name__ == "__main__":
    sys.exit(main())
