"""Modelfiles: read, written, generated, and what they mean for a directory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from modelpack.build import build
from modelpack.errors import BuildError, InvalidModelfile
from modelpack.layout import OciLayout
from modelpack.modelfile import Excludes, Modelfile, Pattern, generate_modelfile, parse_modelfile, plan_modelfile
from modelpack.modelfile.document import KINDS, literal, quoted
from modelpack.modelfile.globs import matches
from modelpack.verify import verify_layout

FULL = rb"""
# A model
name qwen-0.6b
Arch  transformer
FAMILY qwen3
FORMAT safetensors
PARAMSIZE 0.6b
PRECISION bf16
QUANTIZATION "none at all"

CONFIG *.json
CONFIG "generation config.yaml"
	MODEL *.safetensors
MODEL with\ space.bin
CODE src/**/*.py
DATASET data/[a-c]?.csv
DOC "say \"hi\".md"
doc a\*b
"""


def test_every_command_is_read():
    modelfile = parse_modelfile(FULL)
    assert modelfile == Modelfile(
        name="qwen-0.6b",
        arch="transformer",
        family="qwen3",
        format="safetensors",
        paramsize="0.6b",
        precision="bf16",
        quantization="none at all",
        patterns=(
            Pattern("CONFIG", "*.json", 11),
            Pattern("CONFIG", "generation config.yaml", 12),
            Pattern("MODEL", "*.safetensors", 13),
            Pattern("MODEL", "with space.bin", 14),
            Pattern("CODE", "src/**/*.py", 15),
            Pattern("DATASET", "data/[a-c]?.csv", 16),
            Pattern("DOC", 'say "hi".md', 17),
            Pattern("DOC", "a\\*b", 18),
        ),
    )


def test_windows_files_are_read():
    assert parse_modelfile(b"\xef\xbb\xbfNAME a\r\nMODEL b\r\n") == Modelfile(
        name="a", patterns=(Pattern("MODEL", "b", 2),)
    )


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (b"NAME a\nNAME b", 2, "a second time"),
        (b"\n\nFROM llama", 3, "'FROM', which is no command"),
        (b"MODEL", 1, "no argument"),
        (b"MODEL a b", 1, "2 arguments"),
        (b'MODEL "a', 1, "quote that is not closed"),
        (b"MODEL a\\", 1, "ends in a backslash"),
        (b'MODEL ""', 1, "empty"),
        (b"NAME a\nMODEL \xff", 2, "not UTF-8"),
        (b"MODEL a\x01b", 1, "cannot be printed"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, line, problem):
    with pytest.raises(InvalidModelfile, match=f"Modelfile, line {line} .*{problem}") as caught:
        parse_modelfile(text)
    assert caught.value.remedy


_WORDS = st.text(st.characters(exclude_categories=("C", "Z")) | st.sampled_from(' "\\#*?['), min_size=1).filter(
    str.isprintable
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "arch", "family", "format", "paramsize"), _WORDS)),
    st.lists(st.tuples(st.sampled_from(list(KINDS)), _WORDS)),
)
def test_what_is_written_is_read_back(about, patterns):
    modelfile = Modelfile(**about, patterns=tuple(Pattern(*each) for each in patterns))
    read = parse_modelfile(modelfile.text().encode())
    kinds = list(KINDS)
    assert sorted((each.command, each.glob) for each in read.patterns) == sorted(patterns)
    assert [kinds.index(each.command) for each in read.patterns] == sorted(
        kinds.index(command) for command, _ in patterns
    )
    assert {name: getattr(read, name) for name in about} == about


_PARTS = _WORDS.map(lambda word: word.replace("/", "_")).filter(lambda part: part not in (".", ".."))


@given(st.lists(_PARTS, min_size=1, max_size=4).map("/".join), _PARTS)
def test_a_literal_matches_itself_alone(path, other):
    assert matches(literal(path), path)
    assert matches(literal(path), other) is (path == other)
    assert quoted(path)


@pytest.mark.parametrize("path", ["/".join(["part"] * 200), "/".join(["[x]?"] * 100)])
def test_a_path_may_be_longer_than_a_pattern(path):
    assert matches(literal(path), path)
    assert not matches(literal(path), path[:-1])
    with pytest.raises(BuildError, match="not 1 to 512"):
        matches(f"{literal(path)}*", path)


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("*.json", "config.json", True),
        ("*.json", "sub/config.json", False),
        ("**/*.json", "config.json", True),
        ("**/*.json", "a/b/config.json", True),
        ("a/**", "a/b/c", True),
        ("a/**", "b/a/c", False),
        ("*", ".gitattributes", False),
        (".git*", ".gitattributes", True),
        ("**", ".git/config", False),
        ("[a-c].x", "b.x", True),
        ("[^a-c].x", "b.x", False),
        ("[!a-c].x", "d.x", True),
        ("[]x].x", "].x", True),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
        ("./a", "a", True),
        ("?", "é", True),
        ("*a*a*a*a*a*b", "a" * 60, False),
        ("{a,b}.x", "b.x", True),
        ("a\\{b\\}", "a{b}", True),
    ],
)
def test_globs(glob, path, expected):
    assert matches(glob, path) is expected


@pytest.mark.parametrize("glob", ["[a", "[z-a]", "{a", "a\\"])
def test_globs_that_are_malformed(glob):
    with pytest.raises(BuildError, match="pattern"):
        matches(glob, "a")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "sub").mkdir(parents=True)
    (root / ".hidden").write_text("h")
    config = {"model_type": "toy", "transformers_version": "4", "torch_dtype": "float32"}
    (root / "config.json").write_text(json.dumps(config))
    save_file({"a": np.zeros((64, 32), np.float16)}, root / "model.safetensors")
    for name in ("README.md", "run.py", "we*ird [1].txt", "sub/data.csv"):
        (root / name).write_text(name)
    return root


def test_the_patterns_decide_what_goes_in_and_as_what(model, tmp_path):
    text = (
        b"NAME n\nARCH cnn\nDOC config.json\nCONFIG *.json\nMODEL *.safetensors\nDATASET sub/*\nDOC *.none\nCODE .hid*"
    )
    modelfile = parse_modelfile(text)
    plan = plan_modelfile(modelfile, model)
    assert {file.path: kind for file, kind in plan.files} == {
        "config.json": "doc",
        "model.safetensors": "weight",
        "sub/data.csv": "dataset",
        ".hidden": "code",
    }
    assert plan.warnings == ("Modelfile, line 7: DOC *.none means no file.",)
    layout = OciLayout.create(tmp_path / "layout")
    built = build(model, layout, ref="v1", plan=plan, environ={})
    assert verify_layout(layout, "v1").deviations == ()
    assert (built.config.descriptor.name, built.config.descriptor.family) == ("n", "toy")
    assert (built.config.config.architecture, built.config.config.precision) == ("cnn", "float16")
    assert built.warnings == plan.warnings


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"NAME n", "names no files"),
        (b"MODEL gone.bin", "line 1: MODEL gone.bin is not in"),
        (b"MODEL sub", "is a directory"),
        (b"MODEL ../x", "leads out of the directory"),
        (b"MODEL /etc/passwd", "leads out of the directory"),
        (b"MODEL *.none", "names no files"),
        (b"NAME a\nMODEL [a", "line 2: The pattern"),
    ],
)
def test_files_that_are_not_there(text, problem, model):
    with pytest.raises(InvalidModelfile, match=problem) as caught:
        plan_modelfile(parse_modelfile(text), model)
    assert caught.value.remedy


def test_generated_from_a_directory_it_builds_the_same_model(model, tmp_path):
    made = generate_modelfile(model, Modelfile(quantization="none"))
    assert made.warnings == ()
    written = made.modelfile
    assert (written.name, written.arch, written.family, written.format) == (
        "model",
        "transformer",
        "toy",
        "safetensors",
    )
    assert (written.paramsize, written.precision, written.quantization) == ("2k", "float16", "none")
    by_kind = {
        command: [pattern.glob for pattern in written.patterns if pattern.command == command] for command in KINDS
    }
    assert by_kind == {
        "CONFIG": ["config.json"],
        "MODEL": ["model.safetensors"],
        "CODE": ["run.py"],
        "DATASET": [],
        "DOC": ["README.md", "sub/data.csv", "we\\*ird \\[1\\].txt"],
    }
    (model / "Modelfile").write_text(written.text())
    plan = plan_modelfile(parse_modelfile((model / "Modelfile").read_bytes()), model)
    with_it = build(model, OciLayout.create(tmp_path / "a"), plan=plan, environ={})
    without = build(model, OciLayout.create(tmp_path / "b"), environ={})
    assert with_it.manifest.layers == without.manifest.layers


def test_what_generate_leaves_out_and_brings_back(model):
    made = generate_modelfile(model, excludes=Excludes(exclude=("*.txt", "sub/*"), include=(".hid*", "*.txt")))
    names = [pattern.glob for pattern in made.modelfile.patterns]
    assert names == [".hidden", "README.md", "config.json", "model.safetensors", "run.py"]
    with pytest.raises(BuildError, match="excluded"):
        generate_modelfile(model, excludes=Excludes(exclude=("*",)))


def test_too_many_files_to_name(tmp_path):
    for number in range(2049):
        (tmp_path / f"{number}.json").touch()
    with pytest.raises(BuildError, match="2049 files"):
        generate_modelfile(tmp_path)


def test_too_many_patterns_for_several_files_are_refused_and_many_for_one_are_not(tmp_path: Path) -> None:
    for name in ("a.bin", ".hidden", "[odd].bin"):
        (tmp_path / name).write_bytes(b"")
    lines = "".join(f"MODEL x{number}*\n" for number in range(2001))
    with pytest.raises(InvalidModelfile, match="2001 patterns for several files; at most 2000"):
        plan_modelfile(parse_modelfile(lines.encode()), tmp_path)
    plan = plan_modelfile(parse_modelfile(rb"MODEL ./a.bin" + b"\nMODEL .hidden\n" + rb"MODEL \[odd\].bin"), tmp_path)
    assert [file.path for file, _ in plan.files] == [".hidden", "[odd].bin", "a.bin"]
