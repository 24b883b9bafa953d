"""What the site makes of the repository's documents; their links lead somewhere for readers of the repository, too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from deploy.site.marks import Mark, mark_of, visible
from deploy.site.repository import ROOT, linked, rewritten, site_path, source_page

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MADE = ("docs/reference/", "docs/adr/index.md")  # pages that only the site has


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_document_lead_somewhere(path: Path) -> None:
    document = str(path.relative_to(ROOT))
    for target in linked(path.read_text(), document):
        assert (ROOT / target).exists() or target.startswith(MADE), f"{document} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_anchors_between_documents_are_headings(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^):\s#]*)#([^)\s]+)\)", path.read_text()):
        there = (path.parent / target).resolve() if target else path
        if there.suffix == ".md" and there.exists():
            assert anchor in headings(there), f"{path.name} links to {target}#{anchor}"


def headings(path: Path) -> set[str]:
    """As GitHub names them."""
    tokens = MarkdownIt("commonmark").parse(path.read_text())
    titles = [tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"]
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}


def test_where_the_site_has_what() -> None:
    assert site_path("docs/rest.md") == "rest.md"
    assert site_path("docs/adr/") == "adr/index.md"
    assert site_path("SECURITY.md") == "project/SECURITY.md"
    assert site_path("notebooks/ray.ipynb") == "notebooks/ray.md"
    assert site_path("notebooks/swarm-5-0.png") == "notebooks/swarm-5-0.png"
    assert site_path("modeldist/errors.py") == "source/modeldist/errors.py.md"
    assert site_path("deploy/examples/containerd") == "source/deploy/examples/containerd/index.md"


def test_links_lead_out_of_docs() -> None:
    text = "[a](../SECURITY.md#x) [b](rest.md) [c](https://example.com) [d](#e)\n```text\n[f](../nowhere)\n```\n"
    shown = rewritten(text, "docs/mount.md")
    assert shown == text.replace("../SECURITY.md", "project/SECURITY.md")
    assert rewritten("[a](docs/rest.md)", "README.md") == "[a](../rest.md)"
    assert list(linked(text, "docs/mount.md")) == ["SECURITY.md", "docs/rest.md"]


def test_a_link_that_leads_nowhere_is_an_error() -> None:
    for target in ("../nowhere.py", "../../outside"):
        with pytest.raises(LookupError, match=re.escape(target)):
            rewritten(f"[a]({target})", "docs/mount.md")


def test_a_source_file_is_a_page() -> None:
    assert "class ModeldistError" in source_page("modeldist/errors.py")
    assert "`config.toml`" in source_page("deploy/examples/containerd")


def test_marks_are_read_and_shown() -> None:
    assert mark_of("<!-- not run: no GPU is here -->\n") == Mark("not run", "no GPU is here")
    assert mark_of("<!-- begin soak -->") is None
    shown = visible("a\n\n<!-- not run: no GPU is here -->\n```console\n$ x\n```\n")
    assert "Not run by the tests, only read: no GPU is here." in shown
