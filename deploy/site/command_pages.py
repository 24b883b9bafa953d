"""The reference of the command line in Markdown: a page for each panel of `modeldist --help`, and their index."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deploy.site.commands import Command, Panel, Paragraph, panels, whole_program

INDEX = "index.md"


def command_pages() -> Iterator[tuple[str, str, str]]:
    """(file, title, text), the index first."""
    every = list(panels())
    yield INDEX, "Commands", _index(every)
    for panel in every:
        yield _file(panel), panel.title, "\n".join([f"# {panel.title}", "", *_panel(panel)]) + "\n"


def _index(every: list[Panel]) -> str:
    whole = whole_program()
    lines = ["# Commands", "", *_body(whole), ""]
    for panel in every:
        lines += [f"## {panel.title}", "", "| command | |", "|---|---|"]
        lines += [
            f"| [`{each.name}`]({_file(panel)}#{anchor(each.name)}) | {_cell(each.summary)} |"
            for top in panel.commands
            for each in top.all()
        ]
        lines.append("")
    lines.append("`man modeldist` has the same where the package was installed with its manual page.")
    return "\n".join(lines) + "\n"


def _panel(panel: Panel) -> Iterator[str]:
    for top in panel.commands:
        for command in top.all():
            yield f"## {command.name}"
            yield ""
            yield f"```text\n{command.usage}\n```"
            yield ""
            yield from _body(command)


def _body(command: Command) -> Iterator[str]:
    for paragraph in command.paragraphs:
        yield from _paragraph(paragraph)
        yield ""
    if command.options:
        yield "| option | |"
        yield "|---|---|"
        yield from (f"| `{_bar(option.names)}` | {_cell(option.says)} |" for option in command.options)
        yield ""


def _paragraph(paragraph: Paragraph) -> Iterator[str]:
    if not paragraph.verbatim:
        yield _escaped(paragraph.text)
        return
    title, _, rest = paragraph.text.partition("\n")
    body = rest if title.endswith(":") else paragraph.text
    if title.endswith(":"):
        yield f"{_escaped(title)}"
        yield ""
    yield "```text"
    yield from (line.removeprefix("  ") for line in body.splitlines())
    yield "```"


def anchor(name: str) -> str:
    """Of a heading, as the site makes it."""
    return re.sub(r"[^\w-]", "", name.lower().replace(" ", "-"))


def _file(panel: Panel) -> str:
    return f"{anchor(panel.title)}.md"


def _cell(text: str) -> str:
    return _bar(_escaped(text))


def _bar(text: str) -> str:
    return text.replace("|", "\\|")


def _escaped(text: str) -> str:
    """Plain text for Markdown, where no backslash escapes `<`; what is between backticks stays."""
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"([*_\[\]])", r"\\\1", parts[number]).replace("<", "&lt;").replace(">", "&gt;")
    return "`".join(parts)
