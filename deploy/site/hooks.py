"""What mkdocs calls while it builds the site (`hooks:` in mkdocs.yml)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from deploy.site import repository
from deploy.site.command_pages import command_pages
from deploy.site.exit_codes import exit_codes_page
from deploy.site.markdown import for_the_site
from deploy.site.notebook_pages import notebook_page
from deploy.site.rest_page import openapi, rest_page
from deploy.site.settings import settings_page

_DECISIONS = "Decisions"
_HOW_TO = "How-to guides"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put decisions, notebooks and pages that the navigation does not name into it, so that none is forgotten."""
    nav = config.nav or []
    named = {path for path in _leaves(nav) if path.endswith(".md")}
    decisions = sorted(path.name for path in (ROOT / "docs" / "adr").glob("*.md"))
    others = sorted({path.name for path in (ROOT / "docs").glob("*.md")} - named)
    _section(nav, _DECISIONS).extend(["adr/index.md", *(f"adr/{name}" for name in decisions)])
    _section(nav, _HOW_TO).extend(others)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made: from code, from notebooks, and of files that documents link to."""
    for uri, text in _made():
        files.append(_page(config, uri, text))
    texts = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    for name in repository.PROJECT:
        texts[name] = (ROOT / name).read_text()
        files.append(_page(config, repository.site_path(name), texts[name]))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = notebook_page(path)
        texts[f"notebooks/{path.name}"] = page.text
        files.append(_page(config, f"notebooks/{path.stem}.md", page.text))
        for name, content in page.pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    known = {file.src_uri for file in files}
    for target in sorted({path for document, text in texts.items() for path in repository.linked(text, document)}):
        uri = repository.site_path(target)
        if uri.startswith("source/") and uri not in known:
            files.append(_page(config, uri, repository.source_page(target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    uri = page.file.src_uri
    if uri.startswith("source/"):
        return markdown
    return for_the_site(repository.rewritten(markdown, _document(uri)))


def _document(uri: str) -> str:
    """Where the repository has what is this page of the site."""
    folder, _, name = uri.partition("/")
    if folder == "project":
        return name
    if folder == "notebooks":
        return uri.removesuffix(".md") + ".ipynb"
    return f"docs/{uri}"


def _page(config: MkDocsConfig, uri: str, text: str) -> File:
    return File.generated(config, uri, content=text)


def _made() -> Iterator[tuple[str, str]]:
    for name, _, text in command_pages():
        yield f"reference/commands/{name}", text
    yield "reference/settings.md", settings_page()
    yield "reference/exit-codes.md", exit_codes_page()
    yield "reference/rest.md", rest_page(openapi())
    yield "adr/index.md", _decisions_page()


def _decisions_page() -> str:
    lines = ["# Decisions", "", "What was decided, and what it rests on; the newest last.", ""]
    for path in sorted((ROOT / "docs" / "adr").glob("*.md")):
        title = path.read_text().partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for value in nav.values():
            yield from _leaves(value)
    elif isinstance(nav, list):
        for value in nav:
            yield from _leaves(value)


def _section(nav: list[Any], title: str) -> list[Any]:
    """The list below a title. Raises LookupError."""
    for entry in nav:
        if isinstance(entry, dict):
            for name, below in entry.items():
                if name == title:
                    return below  # type: ignore[no-any-return]
                if isinstance(below, list):
                    try:
                        return _section(below, title)
                    except LookupError:
                        continue
    raise LookupError(title)
