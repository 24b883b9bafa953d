"""Modelfiles: what is read is written as a file that says the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import partial

from modelpack.modelfile import Modelfile, parse_modelfile
from modelpack.modelfile.document import KINDS, literal
from modelpack.modelfile.globs import matches
from tests.fuzz.target import Target
from tests.refusals import value_of


def seeds() -> Iterator[bytes]:
    yield (
        b"# Generated\r\nNAME qwen-0.6b\nARCH transformer\nFAMILY qwen3\nFORMAT safetensors\nPARAMSIZE 0.6b\n"
        b'PRECISION bf16\nQUANTIZATION awq\n\nCONFIG *.json\nmodel **/*.safetensors\nDOC "read me.md"\n'
        b"CODE src/[a-z]?*.py\nDATASET a\\ b\\\\c\nDOC .hidden/\\*\n"
    )
    yield b'\xef\xbb\xbfNAME "x\\"y"\nMODEL a**b/*'
    yield b'NAME a\nNAME b\nMODEL\nMODEL a b\nMODEL "a\nX y\n\x1b[2J z\n'
    yield b"MODEL [!a-]b]\nMODEL [--a]\nMODEL [z-a]\nMODEL *a*a*a*a*a*a*b\n"


def check(data: bytes) -> None:
    found = value_of(partial(parse_modelfile, data, "the Modelfile"), naming="the Modelfile")
    if found is None:
        return
    written = found.text()
    again = parse_modelfile(written.encode(), "again")
    assert again.text() == written
    assert _said(again) == _said(found)
    for pattern in found.patterns[:8]:
        check_literal(pattern.glob)


def check_literal(path: str) -> None:
    """Any path can be written so that it means itself."""
    if "." not in path.split("/") and len(path) < 100:
        assert matches(literal(path), path)


def _said(modelfile: Modelfile) -> tuple[object, ...]:
    """All that it says, in the order in which it is written."""
    single = tuple(getattr(modelfile, field.name) for field in fields(modelfile) if field.name != "patterns")
    patterns = tuple((command, p.glob) for command in KINDS for p in modelfile.patterns if p.command == command)
    return (*single, *patterns)


WORDS = tuple(
    b'NAME x|ARCH x|PARAMSIZE 1b|CONFIG *.json|MODEL x|CODE |DATASET |DOC "|"|#|\\"|\\\\|**|[a-z]|[! ]|?|./|/|--'
    b"|\xc2\xa0|\xe2\x80\xa8|\r\n|\nMODEL |\nDOC |\n| |\t|\xef\xbb\xbf".split(b"|")
)
TARGET = Target("modelfile", check, seeds, WORDS, longest=800)
