"""A Markdown page as a program: its fenced blocks run in the order a reader pastes them, and print what the page shows.

    ```python     run in the one namespace of the page
    ```text       directly after a block that prints: its output
    ```console    lines that begin with "$ " are run by a shell; the lines below each are its output, if there are any.
                  In a block that begins with "# " root's do

In output, `…` stands for anything within a line and, on a line of its own, for any lines. All lines of a page are run
by one shell. Programs that stay (STAYING) are started as if in a terminal of their own, and the next line is run once
they are ready. A comment above a block may say that it is a file, that it is not run, or who runs it:
`deploy/site/marks.py`. Blocks of other languages are not run. `localhost:5000` in a page is a registry that the test
starts, `localhost:5001` another one.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from deploy.site.marks import Mark, mark_of
from tests.documentation.session import Session

# What goes on until it is stopped, and by what it is known to be ready; "$log" is what it printed so far.
STAYING = {
    "modeldist server": 'grep -q listening "$log"',
    "modeldist agent": "modeldist status --ready",
    "modeldist top": 'test -s "$log"',
    "docker-registry serve": 'grep -q "listening on" "$log"',
}
AGENT = "modeldist agent"  # a machine has one: the next takes its place


@dataclass(frozen=True)
class Block:
    """A fenced block. `line` is where its first line of content is, counted from 1; `end` where the fence closes.
    `mark` is what a comment directly above it says."""

    language: str
    text: str
    line: int
    end: int
    mark: Mark | None = None

    def marked(self, *kinds: str) -> bool:
        return self.mark is not None and self.mark.kind in kinds

    @property
    def says(self) -> str:
        return self.mark.says if self.mark else ""


@dataclass(frozen=True)
class Example:
    """Something to run, and what the page says it prints; a `file` is written, and `shown` is its name."""

    language: str
    code: str
    shown: str
    line: int


class Differs(AssertionError):
    """The page shows something else than what happens."""


def blocks(page: str) -> Iterator[Block]:
    mark: tuple[Mark | None, int] = (None, -1)
    for token in MarkdownIt("commonmark").parse(page):
        if token.type == "html_block" and token.map is not None:
            mark = (mark_of(token.content), token.map[1])
        if token.type == "fence" and token.map is not None:
            above = mark[0] if mark[1] == token.map[0] else None
            yield Block(token.info.strip(), token.content, token.map[0] + 2, token.map[1], above)


def only(page: str, *titles: str) -> str:
    """The page with nothing but its sections of these titles, each line where it was."""
    return "\n".join(line if title in titles else "" for title, line in _titled(page))


def but(page: str, *titles: str) -> str:
    """The page without these sections, each line where it was."""
    return "\n".join("" if title in titles else line for title, line in _titled(page))


def run_by(page: str, by: str) -> str:
    """The page with nothing but what `by` runs of it, each line where it was."""
    own = [block for block in blocks(page) if block.marked("run by") and block.says == by]
    shown = {number for block in own for number in range(block.line - 2, block.end)}
    return "\n".join(line if number in shown else "" for number, line in enumerate(page.splitlines()))


def _titled(page: str) -> Iterator[tuple[str, str]]:
    title = ""
    for line in page.splitlines():
        title = line[3:] if line.startswith("## ") else title
        yield title, line


def examples(page: str, by: str = "") -> Iterator[Example]:
    """What the page has a reader run, in order; of what somebody runs in an environment of its own, what `by` does."""
    found = list(blocks(page))
    lines = page.splitlines()
    for number, block in enumerate(found):
        if block.marked("not run") or (block.marked("run by") and block.says != by):
            continue
        if block.marked("file"):
            yield Example("file", block.text, block.says, block.line)
        elif block.language == "python":
            after = found[number + 1] if number + 1 < len(found) else None
            follows = after is not None and not "".join(lines[block.end : after.line - 2]).strip()
            shown = after.text if after is not None and after.language == "text" and follows else ""
            yield Example("python", block.text, shown, block.line)
        elif block.language == "console":
            yield from _commands(block)


def _commands(block: Block) -> Iterator[Example]:
    started: list[str] = []
    shown: list[str] = []
    line = block.line
    prompt = "# " if block.text.startswith("# ") else "$ "
    for offset, text in enumerate([*block.text.splitlines(), prompt]):
        if text.startswith(prompt):
            if started:
                yield Example("console", "\n".join(started), "".join(f"{shown_line}\n" for shown_line in shown), line)
            started, shown, line = [text[2:]], [], block.line + offset
        elif text.startswith("> ") and not shown:
            started.append(text[2:])
        elif started and not shown and _goes_on("\n".join(started)):
            started.append(text)
        else:
            shown.append(text)


def _goes_on(code: str) -> bool:
    """Whether a line alone is no command yet, so that the next one belongs to it."""
    try:
        shlex.split(code, comments=True)
    except ValueError:  # a quote is open
        return "<<" not in code
    return code.endswith(("\\", "|", "&&"))


def run(
    path: Path, examples: Iterator[Example], room: Path, places: Mapping[str, str], environment: Mapping[str, str]
) -> int:
    """Run a page's examples in `room`, with `places` in the stead of the addresses it names; their number. Raises what
    an example raises, with the page's own lines in the traceback, and Differs."""
    with Session(room, environment) as session:
        return paste(path, examples, room, places, session)


def paste(path: Path, examples: Iterator[Example], room: Path, places: Mapping[str, str], session: Session) -> int:
    """The same into a session that goes on."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    count = 0
    for example in examples:
        code, shown = (placed(text, places) for text in (example.code, example.shown))
        compare = bool(shown)
        if example.language == "file":
            (room / shown).parent.mkdir(parents=True, exist_ok=True)
            (room / shown).write_text(code)
            continue
        if example.language == "python":
            printed = python(path, code, example.line, namespace)
            compare |= bool(printed)
        elif kind := _stays(code):
            session.start(kind, code, STAYING[kind], alone=kind == AGENT)
            printed, compare = "", False
        else:
            printed = _console(path, code, example.line, session)
        if compare and not matches(printed, shown):
            raise Differs(f"{path.name}:{example.line} prints\n{printed}\nand the page shows\n{shown}")
        count += 1
    return count


def _stays(code: str) -> str:
    """Which of the programs that stay it starts; empty for what ends, or is sent into the background by the page."""
    words = shlex.split(code, comments=True) if "<<" not in code else []
    kind = " ".join(words[:2])
    return kind if kind in STAYING and words[-1] != "&" and "--once" not in words else ""


def matches(printed: str, shown: str) -> bool:
    pattern = re.escape(_trimmed(shown)).replace("\\\n", "\n")
    pattern = re.sub(r"(?m)^…$\n?", r"(?:.*\n)*?(?:.*)", pattern).replace("…", r"[^\n]*?")
    return re.fullmatch(pattern, _trimmed(printed)) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def placed(text: str, places: Mapping[str, str]) -> str:
    """With places in the stead of the names that the page has."""
    for name, place in places.items():
        text = text.replace(name, place)
    return text


def python(path: Path, code: str, line: int, namespace: dict[str, object]) -> str:
    """What it prints, run in the names of the page."""
    printed = io.StringIO()
    compiled = compile("\n" * (line - 1) + code, str(path), "exec")
    with contextlib.redirect_stdout(printed):
        exec(compiled, namespace)
    return printed.getvalue()


def _console(path: Path, code: str, line: int, session: Session) -> str:
    status, printed = session.run(code)
    if status:
        raise Differs(f"{path.name}:{line}: {code} ended with status {status} and printed\n{printed}")
    return printed
