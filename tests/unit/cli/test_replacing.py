"""What comes after `--exec`: whose words they are, and where the directory goes."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from modeldist.cli.replacing import ReplacingCommand, check_runnable, with_directory
from modeldist.errors import ProgramNotFound, ProgramNotRunnable

MODEL = Path("/store/hub/models--org--model/snapshots/0123")


def run(*arguments: str) -> Result:
    @click.command(cls=ReplacingCommand)
    @click.argument("reference")
    @click.option("--quiet", is_flag=True)
    def command(reference: str, quiet: bool, command: tuple[str, ...]) -> None:
        click.echo(repr((reference, quiet, command)))

    return CliRunner().invoke(command, arguments)


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (("org/model",), ("org/model", False, ())),
        (("org/model", "--quiet", "--exec", "serve"), ("org/model", True, ("serve",))),
        (
            ("--quiet", "m", "--exec", "serve", "{}", "--quiet", "-p", "1"),
            ("m", True, ("serve", "{}", "--quiet", "-p", "1")),
        ),
        (("m", "--exec", "env", "--", "a", "--exec", "b"), ("m", False, ("env", "--", "a", "--exec", "b"))),
    ],
)
def test_all_that_follows_is_the_programs(arguments: tuple[str, ...], seen: object) -> None:
    assert run(*arguments).output == f"{seen!r}\n"


@pytest.mark.parametrize("wrong", [("--exec",), ("--exec=serve",), ("--exec=serve", "{}")])
def test_a_program_is_words_of_their_own(wrong: tuple[str, ...]) -> None:
    done = run("org/model", *wrong)
    assert done.exit_code == 2
    assert "as words of their own" in done.stderr


def test_a_wrong_option_before_it_is_found() -> None:
    assert run("org/model", "--quite", "--exec", "serve").exit_code == 2


def test_the_help_shows_it() -> None:
    assert "--exec CMD [ARG]…" in run("--help").output


@pytest.mark.parametrize(
    ("word", "becomes"),
    [
        ("{}", f"{MODEL}"),
        ("--model={}", f"--model={MODEL}"),
        ("{}/config.json:{}", f"{MODEL}/config.json:{MODEL}"),
        ('{"extra": {}}', '{"extra": {}}'),
        ('--config={"extra":{}}', '--config={"extra":{}}'),
        ("${HOME}/{}", "${HOME}/{}"),
        ("serve", "serve"),
    ],
)
def test_where_the_directory_goes(word: str, becomes: str) -> None:
    assert with_directory([word], MODEL) == [becomes]


def test_programs_that_cannot_be_run_are_found_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "serve"
    for name in ("serve", str(program)):
        with pytest.raises(ProgramNotFound, match="serve"):
            check_runnable([name])
    program.touch(mode=0o644)
    with pytest.raises(ProgramNotRunnable, match="executable"):
        check_runnable([str(program)])
    program.chmod(0o755)
    for name in ("serve", str(program), "{}/bin/serve"):
        check_runnable([name])
