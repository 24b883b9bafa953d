"""Every failure a user can meet: one sentence, one exit code, no traceback."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from typing import TypeVar

import click
import pytest
from click.testing import CliRunner, Result

from modeldist import errors
from modeldist.cli.boundary import Command
from modelpack import errors as theirs

T = TypeVar("T")


def family(root: type[T]) -> Iterator[type[T]]:
    yield root
    for child in root.__subclasses__():
        yield from family(child)


def run(error: BaseException, *arguments: str) -> Result:
    @click.command(cls=Command)
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json: bool) -> None:
        raise error

    return CliRunner().invoke(command, arguments)


OURS = [cls for cls in family(errors.ModeldistError) if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_our_errors(cls: type[errors.ModeldistError]) -> None:
    result = run(cls("org/model is odd.", remedy="Do this."))
    assert result.exit_code == cls.exit_code
    assert result.stderr == "modeldist: org/model is odd. Do this.\n"
    assert result.stdout == ""


@pytest.mark.parametrize("cls", [*family(theirs.ModelPackError)], ids=lambda cls: cls.__name__)
def test_errors_of_modelpack(cls: type[theirs.ModelPackError]) -> None:
    result = run(cls("org/model is odd.", remedy="Do this."))
    assert 2 <= result.exit_code <= 21
    assert result.stderr == "modeldist: org/model is odd. Do this.\n"


@pytest.mark.parametrize(
    ("number", "cls"),
    [
        (errno.ENOSPC, errors.NotEnoughSpace),
        (errno.EACCES, errors.StoreNotWritable),
        (errno.EIO, errors.StorageError),
    ],
)
def test_errors_of_files(number: int, cls: type[errors.ModeldistError]) -> None:
    result = run(OSError(number, os.strerror(number), "/models/a", None, "/layout/b"))
    assert result.exit_code == cls.exit_code
    assert result.stderr.startswith(f"modeldist: /layout/b: {os.strerror(number)}. ")


@pytest.mark.parametrize(
    ("number", "cls", "remedy"),
    [
        (errno.ENOSPC, errors.NotEnoughSpace, "Free some space there"),
        (errno.EROFS, errors.StoreNotWritable, "Let this user"),
        (errno.EIO, errors.StorageError, "the disk under it"),
        (errno.EMFILE, errors.StorageError, "`ulimit -n`"),
        (errno.ENFILE, errors.StorageError, "All programs of this machine"),
        (errno.EFBIG, errors.StorageError, "`ulimit -f`"),
    ],
)
def test_what_a_write_fails_of_without_the_name_of_its_file(
    number: int, cls: type[errors.ModeldistError], remedy: str
) -> None:
    result = run(OSError(number, os.strerror(number)))
    assert result.exit_code == cls.exit_code
    assert result.stderr.startswith(f"modeldist: Reading or writing failed: {os.strerror(number)}. ")
    assert remedy in result.stderr


def test_an_error_of_the_system_that_is_of_no_file_is_a_bug() -> None:
    assert run(OSError(errno.ECHILD, os.strerror(errno.ECHILD))).exit_code == 1


def test_json_gets_the_error_on_stdout_too() -> None:
    result = run(errors.NotFound("org/model is not there.", remedy="Check its name."), "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout) == {
        "error": {"code": "not_found", "message": "org/model is not there.", "remedy": "Check its name."}
    }
    assert result.stderr == "modeldist: org/model is not there. Check its name.\n"


def test_a_bug_is_one_line_and_a_hint() -> None:
    result = run(ZeroDivisionError("division by zero"))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert "--debug" in result.stderr


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELDIST_DEBUG", "1")
    result = run(errors.NotFound("org/model is not there."))
    assert result.exit_code == 4
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.endswith("modeldist: org/model is not there.\n")


def test_control_characters_of_strangers_stay_out_of_the_terminal() -> None:
    assert "\x1b" not in run(errors.NotFound("evil \x1b[2J name")).stderr


def test_an_interrupt_is_130() -> None:
    result = run(KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr == "modeldist: Stopped.\n"


def test_wrong_usage_is_clicks_business() -> None:
    result = run(click.BadParameter("no such thing"))
    assert result.exit_code == 2
    assert "no such thing" in result.stderr
