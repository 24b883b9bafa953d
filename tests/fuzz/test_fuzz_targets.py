"""Every parser for a moment, as `make fuzz` does it for long; and that the runner finds what is wrong."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.target import HERE, is_beside, load_target, target_names

ROOT = HERE.parent.parent
# Coverage of fuzzed processes says nothing, and its tracer would slow them down.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
PLAIN = pytest.param("--plain", id="mutation")
COVERED = pytest.param(
    "--memory=1024",
    id="atheris",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python"
    ),
)


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        check=False,
    )


def _text(name: str) -> str:
    return (HERE / "targets" / f"{name}.py").read_text()


@pytest.mark.parametrize("name", target_names())
def test_a_moment_of_each_target(name: str, tmp_path: Path) -> None:
    # To import what is beneath modeldist's targets for coverage takes longer than their moment.
    moment = ("--plain", "--seconds", "0.2") if "modeldist." in _text(name) else ("--seconds", "1")
    done = fuzz(name, *moment, "--findings", str(tmp_path))
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.mark.parametrize("name", [name for name in target_names() if not is_beside(name)])
def test_the_corpus_holds_what_is_accepted_and_what_was_found(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    corpus = target.corpus()
    assert corpus
    for data in corpus:
        target.check(data)


def test_regressions_belong_to_a_target() -> None:
    assert {path.name for path in (HERE / "regressions").glob("*") if path.is_dir()} <= set(target_names())


@pytest.mark.parametrize("way", [PLAIN, COVERED])
@pytest.mark.parametrize(
    ("fault", "limits"),
    [("RAISES", ["--timeout=20"]), ("HANGS", ["--timeout=1"]), ("DEVOURS", ["--timeout=20", "--memory=300"])],
)
def test_faults_are_found_and_kept(way: str, fault: str, limits: list[str], tmp_path: Path) -> None:
    done = fuzz(f"tests.fuzz.broken:{fault}", way, "--seconds", "20", "--findings", str(tmp_path), *limits)
    assert done.returncode != 0, done.stdout
    kept = [path for path in (tmp_path / fault).iterdir() if path.is_file() and path.name != "words"]
    assert [path.read_bytes()[:1] for path in kept] == [b"!"], done.stderr[-5000:]


def test_a_finding_is_run_again(tmp_path: Path) -> None:
    found = tmp_path / "found"
    found.write_bytes(b"!")
    again = fuzz("tests.fuzz.broken:RAISES", str(found), "--findings", str(tmp_path))
    assert again.returncode == 1
    assert "IndexError: an exclamation mark" in again.stderr
    assert fuzz("reference", str(found), "--findings", str(tmp_path)).returncode == 0


def test_the_same_seed_makes_the_same_inputs() -> None:
    from itertools import islice

    from tests.fuzz.mutation import mutations

    target = load_target("manifest")
    first, again, other = (list(islice(mutations(target, seed), 300)) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) > 200
    assert all(len(data) <= target.longest for data in first)
