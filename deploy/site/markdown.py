"""The repository's Markdown, which is CommonMark, for Python-Markdown, which wants an empty line before a list, a table
or a block of code."""

from __future__ import annotations

from markdown_it import MarkdownIt

from deploy.site.marks import visible

_APART = frozenset(("bullet_list_open", "ordered_list_open", "table_open", "fence", "heading_open", "blockquote_open"))


def for_the_site(text: str) -> str:
    """The page as a reader of the repository sees it, with marks of snippets for all to see."""
    lines = visible(text).splitlines()
    before = {
        token.map[0]
        for token in MarkdownIt("commonmark").enable("table").parse("\n".join(lines))
        if token.type in _APART and token.level == 0 and token.map and token.map[0]
    }
    shown: list[str] = []
    for number, line in enumerate(lines):
        if number in before and lines[number - 1].strip():
            shown.append("")
        shown.append(line)
    return "\n".join(shown) + "\n"
