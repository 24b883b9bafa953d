"""Selections, ranks and patterns: one text for each, read again as the same; patterns match what a slow reading of them
does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

from modelpack.globs import Glob
from modelpack.plan.rank import Rank
from modelpack.plan.selection import Selection, as_document
from tests.fuzz.target import Target
from tests.refusals import value_of


def seeds() -> Iterator[bytes]:
    for text in (
        "only=*.json&only=**/tokenizer*&exclude=onnx/**&kind=weight&weights=sharded\nonnx/model.json",
        "tensor=model.layers.[0-9].*&rank=tp=0/4,pp=1/2,ep=3/8\nmodel.layers.3.mlp",
        "only=%25a%26&rank=tp=0/1\n%a&",
        "only={a,b{c,d}}?[!x]\nbcyz",
        "only=\\*\\{[]a]\n*{]",
        "only=**/a/**/b\na/x/y/b",
        "only=[+--]&only=[--a]&only=[a^b-]&only=[\\]-]\n-",
    ):
        yield text.encode()


def check(data: bytes) -> None:
    head, _, names = data.partition(b"\n")
    text = head.decode(errors="surrogateescape")
    value_of(partial(Rank.parse, text), naming="rank")
    selection = value_of(partial(Selection.parse, text))
    if selection is None:
        return
    assert Selection.parse(str(selection)) == selection
    assert str(Selection.parse(str(selection))) == str(selection)
    assert str(selection).isprintable()
    assert Rank.parse(str(selection.rank)) == selection.rank if selection.rank else not str(selection.rank)
    assert bool(as_document(selection)) == bool(selection)
    patterns = (*selection.only, *selection.exclude, *selection.tensors)
    for name in names.decode(errors="replace").split("\n")[:4]:
        if "" in name.split("/"):
            continue  # no path
        for pattern in patterns[:4]:
            if "{" not in pattern and "}" not in pattern and "[" not in pattern and len(name) + len(pattern) < 60:
                assert Glob(pattern).matches(name) == slowly(pattern, name), (pattern, name)


def slowly(pattern: str, name: str) -> bool:
    """Patterns without classes and braces, letter by letter."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if part != "**" or parts[-1:] != ["**"]:
            parts.append(part)
    names = name.split("/")

    @cache
    def directories(at: int, of: int) -> bool:
        if at == len(parts):
            return of == len(names)
        if parts[at] != "**":
            return of < len(names) and letters(parts[at], names[of]) and directories(at + 1, of + 1)
        if at + 1 == len(parts):  # `a/**` is a, and all below it
            return True
        return any(directories(at + 1, later) for later in range(of, len(names) + 1))

    return directories(0, 0)


def letters(part: str, name: str) -> bool:
    if not part:
        return not name
    if part[0] == "*":
        return any(letters(part[1:], name[start:]) for start in range(len(name) + 1))
    if part[0] == "\\":
        return name[:1] == part[1] and letters(part[2:], name[1:])
    return bool(name) and part[0] in ("?", name[0]) and letters(part[1:], name[1:])


WORDS = tuple(
    b"only= exclude= kind= tensor= rank= weights= & tp=0/4 pp= ep= , ** * ? [a-z] [! ] { } \\ / %26 %ff %00 sharded "
    b"weight.config consolidated ** (?: ^ $ + a b".split()
)
TARGET = Target("selection", check, seeds, WORDS, longest=300)
