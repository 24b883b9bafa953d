"""Kitfiles: what YAML a stranger may write is a plan for the files that are there, or a refusal that names the file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

from modelpack.config import ModelConfig, ModelFS, encode_config, parse_config
from modelpack.modelfile import plan_kitfile
from tests.fuzz.target import Target
from tests.refusals import check_sentence, value_of

_ROOM = tempfile.TemporaryDirectory(prefix="kitfile-")


@lru_cache(maxsize=1)
def _directory() -> Path:
    directory = Path(_ROOM.name)
    for name in ("model.gguf", "config.json", "docs/README.md", "docs/a b.md", "src/x.py", "data/train.csv"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(b"x")
    return directory


def seeds() -> Iterator[bytes]:
    yield (
        b"manifestVersion: 1.0.0\npackage:\n  name: kit\n  version: 1.2\n  authors: [ada, 7]\n  license: MIT\n"
        b"model:\n  name: m\n  path: model.gguf\n  framework: llama\n  parts:\n    - path: config.json\n"
        b"code:\n  - path: src\ndatasets:\n  - name: d\n    path: data/*.csv\ndocs:\n  - path: ./docs/\n"
    )
    yield b'{"manifestVersion": "v1", "model": {"path": "."}, "package": {"authors": "ada"}}'
    yield b"manifestVersion: 1.0.0\npackage: [1]\nmodel: {path: model.gguf}\n"
    yield b"a: &x [1]\nb: *x\n!!python/object:x {}\n"
    yield b"manifestVersion: 1\nmodel: {path: ../x}\ndocs: 3\ncode: [[[[]]]]\nx: 2025-13-45\n? [a]\n: b\n<<: {a: 0b_}\n"


def check(data: bytes) -> None:
    plan = value_of(partial(plan_kitfile, data, _directory(), name="the Kitfile"))
    if plan is None:
        return
    assert plan.files
    for file, _ in plan.files:
        assert file.file.is_relative_to(_directory())
    for warning in plan.warnings:
        check_sentence(warning)
    fs = ModelFS(diff_ids=("sha256:" + "0" * 64,))
    written = encode_config(ModelConfig(descriptor=plan.about, config=plan.technical, modelfs=fs))
    again = parse_config(written, strict=True).config
    assert (again.descriptor, again.config) == (plan.about, plan.technical)
    assert all(author and author != "()" for author in plan.about.authors)


WORDS = tuple(
    b"manifestVersion: 1.0.0|package:|model:|path:|parts:|name:|authors:|license:|code:|datasets:|docs:|- |\n  |\n|{|}"
    b"|[|]|,|: |? |&a |*a |!!int |!!set |<<: |---\n|...\n|%YAML 1.1\n|'|\"|>\n|\\|\n|~|null|.inf|0x_|1:60|2025-01-01|=|"
    b"\xef\xbb\xbf|\xff\xfe|\x85|*|**|../|./".split(b"|")
)
TARGET = Target("kitfile", check, seeds, WORDS, longest=800)
