"""Kitfiles as what to build."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.build import build
from modelpack.errors import InvalidModelfile
from modelpack.layout import OciLayout
from modelpack.modelfile import plan_kitfile
from modelpack.verify import verify_layout

KITFILE = b"""
manifestVersion: 1.0.0
package:
  name: toy
  version: 1.2.0
  description: A toy.
  authors: [Ada, Grace]
  license: Apache-2.0
model:
  name: weights
  path: ./model
  framework: pytorch
  parts:
    - path: lora.safetensors
      name: lora
datasets:
  - name: training
    path: data/*.csv
code:
  - path: src
docs:
  - path: ./README.md
  - path: model/NOTES.md
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "kit"
    names = (
        "model/model.bin model/config.json model/NOTES.md lora.safetensors data/a.csv data/b.txt src/x/run.py README.md"
    )
    for name in (*names.split(), "src/.cache"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_a_kitfile_says_what_goes_in_and_as_what(folder, tmp_path):
    plan = plan_kitfile(KITFILE, folder)
    assert {file.path: kind for file, kind in plan.files} == {
        "README.md": "doc",
        "data/a.csv": "dataset",
        "lora.safetensors": "weight",
        "model/NOTES.md": "doc",
        "model/config.json": "weight.config",
        "model/model.bin": "weight",
        "src/x/run.py": "code",
    }
    about = plan.about
    assert (about.name, about.version, about.description) == ("toy", "1.2.0", "A toy.")
    assert (about.authors, about.licenses) == (("Ada", "Grace"), ("Apache-2.0",))
    layout = OciLayout.create(tmp_path / "layout")
    build(folder, layout, ref="v1", plan=plan, environ={})
    assert verify_layout(layout, "v1").deviations == ()


@pytest.mark.parametrize(
    ("authors", "read"), [("", ()), ("[]", ()), ("Ada", ("Ada",)), ("[Ada, 7, null]", ("Ada", "7"))]
)
def test_authors_in_any_form(authors, read, folder):
    raw = f"manifestVersion: 1.0.0\npackage:\n  authors: {authors}\nmodel: {{path: model}}\n"
    assert plan_kitfile(raw.encode(), folder).about.authors == read


def test_a_path_may_be_the_whole_directory(folder):
    plan = plan_kitfile(b"manifestVersion: v1.0.0\nmodel: {path: .}\ncode: [{path: src}]\n", folder)
    kinds = {file.path: kind for file, kind in plan.files}
    assert kinds["src/x/run.py"] == "code"
    assert len(kinds) == 8


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"model: {path: model}", "manifestVersion ''"),
        (b"manifestVersion: 2.0.0\nmodel: {path: model}", "manifestVersion '2.0.0'"),
        (b"manifestVersion: 1.0.0", "names no files"),
        (b"manifestVersion: 1.0.0\nmodel: {path: gone}", "'gone' in model"),
        (b"manifestVersion: 1.0.0\ncode:\n  - path: ../x", "leads elsewhere"),
        (b"manifestVersion: 1.0.0\ncode:\n  - {}", r"code\[0\] without a path"),
        (b"manifestVersion: 1.0.0\ncode: src", "no list"),
        (b"manifestVersion: 1.0.0\nmodel: [a]", "no mapping"),
        (b"manifestVersion: 1.0.0\npackage: [1]\nmodel: {path: model}", "package that is no mapping"),
        (b"manifestVersion: 1.0.0\ncode: [src]", r"code\[0\] that is no mapping"),
        (b"manifestVersion: 1.0.0\nmodel: {path: a\n", "line 3 is no YAML"),
        (b"- a", "no mapping of names"),
        (b"a: &x 1\nb: *x", "line 1 has an anchor"),
        (b"a: !!python/object:os.system 1", "line 1 has a tag"),
        (b"a: 1\na: 2", "line 2 says 'a' twice"),
        (b"? [a]\n: 1", "no name"),
        (b"[" * 100, "nested deeper"),
        (b"a: \xff", "no YAML"),
        (b"a: 1\n---\nb: 1", "no YAML"),
        (b"a: 2026-99-99", "no YAML"),
        (b"", "no mapping"),
        (rb'a: "\ud83d"', "line 1 has half a character"),
        (b'a: 1\n"\\ude00": 1', "line 2 has half a character"),
    ],
)
def test_what_is_wrong_is_said(raw, problem, folder):
    with pytest.raises(InvalidModelfile, match=problem):
        plan_kitfile(raw, folder)


def test_a_character_escaped_as_in_json(folder):
    raw = rb'{"manifestVersion": "1.0.0", "package": {"name": "kit \ud83d\ude00"}, "model": {"path": "model"}}'
    assert plan_kitfile(raw, folder).about.name == "kit \U0001f600"
