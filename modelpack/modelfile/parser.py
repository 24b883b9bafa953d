"""Reading a Modelfile: a command and one argument a line.

    # a comment
    NAME qwen-0.6b                NAME ARCH FAMILY FORMAT PARAMSIZE PRECISION QUANTIZATION: each at most once
    MODEL *.safetensors           CONFIG MODEL CODE DATASET DOC: any number of times
    DOC "read me.md"              white space needs quotes, or a backslash before it

Commands are written in any case. A backslash before white space, `"` or another backslash takes their meaning away;
before anything else it stays, for a glob to read.
"""

from __future__ import annotations

from modelpack.errors import InvalidModelfile
from modelpack.modelfile.document import KINDS, SINGLE, Modelfile, Pattern

MAX_MODELFILE_BYTES = 4 * 1024 * 1024
MAX_PATTERNS = 100_000
_ESCAPED = ' \t"\\'


def parse_modelfile(raw: bytes, name: str = "Modelfile") -> Modelfile:
    """`name` is what errors call it. Raises InvalidModelfile with the line's number."""
    if len(raw) > MAX_MODELFILE_BYTES:
        raise InvalidModelfile(f"{name} has {len(raw)} bytes; at most {MAX_MODELFILE_BYTES} are read.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise _wrong(name, raw[: problem.start].count(b"\n") + 1, "is not UTF-8") from None
    about: dict[str, str] = {}
    patterns: list[Pattern] = []
    for number, line in enumerate(map(str.lstrip, text.replace("\r\n", "\n").split("\n")), start=1):
        if not line or line.startswith("#"):
            continue
        command, argument = _command(line, name, number)
        if command in KINDS:
            patterns.append(Pattern(command, argument, number))
            if len(patterns) > MAX_PATTERNS:
                raise _wrong(name, number, f"is more than the {MAX_PATTERNS} patterns that are read")
        elif command in about:
            raise _wrong(name, number, f"says {command} a second time")
        else:
            about[command] = argument
    return Modelfile(**{command.lower(): value for command, value in about.items()}, patterns=tuple(patterns))


def _command(line: str, name: str, number: int) -> tuple[str, str]:
    word, *following = line.split(maxsplit=1)
    command, rest = word.upper(), "".join(following)
    if command not in KINDS and command not in SINGLE:
        raise _wrong(name, number, f"begins with {word[:40]!r}, which is no command")
    arguments = _arguments(rest, name, number)
    if len(arguments) != 1:
        found = f"{len(arguments)} arguments" if arguments else "no argument"
        raise _wrong(name, number, f"gives {command} {found} and it takes one (quote white space)")
    if not arguments[0] or not arguments[0].isprintable():
        raise _wrong(name, number, f"gives {command} an argument that is empty or cannot be printed")
    return command, arguments[0]


def _arguments(text: str, name: str, number: int) -> list[str]:
    words: list[str] = []
    word: str | None = None  # None between words
    inside = False
    characters = iter(text)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            if not following:
                raise _wrong(name, number, "ends in a backslash")
            word = (word or "") + (following if following in _ESCAPED else character + following)
        elif character == '"':
            inside = not inside
            word = word or ""
        elif character in " \t" and not inside:
            words += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + character
    if inside:
        raise _wrong(name, number, "has a quote that is not closed")
    return words if word is None else [*words, word]


def _wrong(name: str, line: int, problem: str) -> InvalidModelfile:
    return InvalidModelfile(
        f"{name}, line {line} {problem}.", remedy="A line is a command and one argument, such as MODEL *.safetensors."
    )
