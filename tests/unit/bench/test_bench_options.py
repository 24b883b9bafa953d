"""Values that mean nothing are named before anything is measured."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from tests.netlab.__main__ import main as laboratory


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("control", ["--agents", "0"], "'0' is not a whole number from 1 on"),
        ("control", ["--swarm", "-1"], "'-1' is not a whole number from 1 on"),
        ("control", ["--seconds", "nan"], "'nan' is not a number of seconds above 0"),
        ("control", ["--seconds", "inf"], "'inf' is not a number of seconds above 0"),
        ("overload", ["--pulls", "0"], "'0' is not a whole number from 1 on"),
        ("start", ["--repeat", "0"], "'0' is not a whole number from 1 on"),
        ("single", ["--size", "many"], "'many' is not a whole number from 1 on"),
        ("single", ["--directory", "/not/there"], "'/not/there' is not a directory; make it first"),
    ],
)
def test_benchmarks_refuse(name: str, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        import_module(f"modeldist.bench.{name}").main(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_the_laboratory_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, says in (
        (["--runs", "0"], "'0' is not a whole number from 1 on"),
        (["--directory", str(tmp_path / "none")], "is not a directory; make it first"),
    ):
        with pytest.raises(SystemExit) as ended:
            laboratory(["cold-8", *arguments])
        assert ended.value.code == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--rivals", "none"], ["--cross-check"]])
def test_a_laboratory_with_nobody_in_it_has_met_no_bar(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert laboratory(["cold-8", "--only-rivals", *option]) == 2
    assert "leaves nothing to measure" in capsys.readouterr().err
