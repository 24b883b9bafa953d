"""What goes to which stream, as a shell sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from modeldist.cli.main import program
from modeldist.cli.terminal import clean, put_json, table_lines

MODELDIST = [sys.executable, "-m", "modeldist"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "MODELDIST_STORE": str(tmp_path / "store"),
        "MODELDIST_SOCKET": str(tmp_path / "none.sock"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


def run(environment: dict[str, str], *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*MODELDIST, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_columns_line_up_and_the_last_is_not_padded() -> None:
    assert table_lines(
        ("NAME", "SIZE", "PATH"), [("a", "10 GB", "/a"), ("longer", "1 B", "")], right=frozenset({1})
    ) == [
        "NAME     SIZE  PATH",
        "a       10 GB  /a",
        "longer    1 B",
    ]


def test_control_characters_are_replaced() -> None:
    assert clean("a\x1b[31mb\x07\tc\n") == "a�[31mb�\tc\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_no_document_drives_a_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"name": "a\x1b[2J\x9b2J\x7f\u202eb é \U000e0041"}
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    put_json(said)
    shown = capsys.readouterr().out
    assert json.loads(shown) == said
    assert shown.replace("\n", "").isprintable() == terminal
    assert "é" in shown


def test_a_reader_that_went_away_is_no_error(environment: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*MODELDIST, "version"], env=environment, stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_closed_streams_are_no_error(environment: dict[str, str]) -> None:
    command = f"{' '.join(MODELDIST)} version <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], env=environment, check=False).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(environment: dict[str, str], shell: str) -> None:
    script = run(environment, "completion", shell).stdout
    assert "modeldist" in script
    assert "_MODELDIST_COMPLETE" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_shell_is_told_what_completes(environment: dict[str, str]) -> None:
    asked = {**environment, "_MODELDIST_COMPLETE": "bash_complete", "COMP_WORDS": "modeldist pu", "COMP_CWORD": "1"}
    assert run(asked).stdout.split() == ["plain,pull", "plain,push"]


def test_every_command_explains_itself_with_an_example(environment: dict[str, str]) -> None:
    for name in program.list_commands(click.Context(program)):
        text = run(environment, name, "--help").stdout
        assert "modeldist" in text.partition("Example:\n")[2]


def test_no_arguments_show_the_help_and_unknown_ones_are_named(environment: dict[str, str]) -> None:
    assert "Commands" not in run(environment, "--help").stdout.partition("Usage")[0]
    assert "nonsense" in run(environment, "nonsense", code=2).stderr
    assert "--nonsense" in run(environment, "pull", "--nonsense", code=2).stderr
    assert "REF" in run(environment, "pull", code=2).stderr


def test_an_empty_store_is_not_made_by_looking(environment: dict[str, str], tmp_path: Path) -> None:
    assert run(environment, "ls").stdout == ""
    assert json.loads(run(environment, "ls", "--json").stdout) == []
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["gc", "--max-age", "soon"], 2, "not a duration"),
        (["gc", "--target-free", "lots"], 2, "not a size"),
        (["pull", "--agent", "--store", "/tmp/x", "org/model"], 2, "--store"),
        (["pull", "--agent", "org/model"], 17, "No agent listens"),
        (["pull", "--offline", "org/model"], 18, "org/model"),
        (["status"], 17, "No agent runs"),
        (["why", "org/model"], 4, "org/model"),
        (["rm", "org/model"], 4, "org/model"),
        (["pin", "org/model"], 4, "org/model"),
        (["push", "org/model"], 4, "layout"),
        (["build", "no-such-directory"], 2, "no-such-directory"),
        (["build", ".", "-o", "config.json/layout"], 14, "config.json is in the way"),
        (["build", ".", "--store", "/proc/nowhere"], 12, "/proc/nowhere"),
        (["inspect", "--raw", "."], 2, "no manifest"),
        (["preheat", "org/model", "--all"], 2, "--server"),
        (["preheat", "org/model", "--server", "https://control:7420"], 2, "Which nodes"),
        (["preheat", "org/model", "--all", "--server", "control:7420"], 2, "no URL"),
        (["preheat", "org/model", "--all", "--server", "http://127.0.0.1:9"], 16, "no token"),
        (["status", "--server", "http://127.0.0.1:9", "--token-file", "t.token"], 15, "127.0.0.1:9"),
        (["status", "--server", "http://[::1", "--token-file", "t.token"], 2, "no URL"),
        (["status", "--server", "http://127.0.0.1:99999", "--token-file", "t.token"], 2, "no URL"),
        (["status", "--server", "http://a..b", "--token-file", "t.token"], 2, "no URL"),
        (["status", "--server", "http://127.0.0.1:9", "--token-file", __file__], 2, "holds no token"),
        (["status", "--server", "http://127.0.0.1:9", "--token-file", "/no/such/token"], 2, "cannot be read"),
        (["agent", "--token-file", __file__, "--control", "http://[::1"], 2, "control"),
        (["agent", "--token-file", __file__, "--control", "control:99999"], 2, "control"),
        (["pull", "file://[x/y"], 2, "no local file"),
        (["login", "registry.example", "--password-stdin"], 2, "-u USER"),
        (["login", "registry.example/org"], 2, "not a registry"),
        (["login", "registry.example"], 2, "no terminal"),
        (["agent", "--label", "gpu"], 2, "--label"),
        (["agent", "--origin-streams", "0"], 2, "origin_streams"),
        (["agent", "--token-file", "/no/such/token"], 2, "token_file"),
        (["agent", "--log-level", "loud"], 2, "log_level"),
        (["agent", "--token-file", __file__, "--listen", "nowhere"], 2, "nowhere"),
        (["agent"], 2, "--token-file"),
        (["server", "--host", "0.0.0.0"], 2, "TLS"),
        (["server", "--log-level", "loud"], 2, "log_level"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_on_stderr_alone(
    environment: dict[str, str], tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    folder = _model(tmp_path)
    (folder / "t.token").write_text("t\n")
    done = subprocess.run(
        [*MODELDIST, *arguments],
        env={**environment, "PYTHONPATH": str(Path.cwd())},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("modeldist: ")
    assert "Traceback" not in done.stderr


def _model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_a_directory_can_be_inspected_before_it_is_built(environment: dict[str, str], tmp_path: Path) -> None:
    folder = str(_model(tmp_path))
    about = json.loads(run(environment, "inspect", "--json", folder).stdout)
    assert [file["path"] for file in about["files"]] == ["config.json"]
    assert "config.json" in run(environment, "inspect", folder).stdout


def test_build_prints_the_digest_and_inspect_finds_the_layout(environment: dict[str, str], tmp_path: Path) -> None:
    folder, layout = str(_model(tmp_path)), str(tmp_path / "layout")
    digest = run(environment, "build", folder, "-o", layout).stdout.strip()
    assert digest.startswith("sha256:")
    about = json.loads(run(environment, "build", folder, "-o", layout, "-t", "org/m:v1", "--json").stdout)
    assert (about["digest"], about["layout"]) == (digest, layout)
    assert about["reference"] == f"docker.io/org/m@{digest}"
    for arguments in (("inspect", "--layout", layout, "org/m:v1"), ("inspect", layout)):
        found = json.loads(run(environment, *arguments, "--json").stdout)
        assert found["digest"] == digest
        assert digest in run(environment, *arguments).stdout
    assert json.loads(run(environment, "inspect", "--raw", layout).stdout)["layers"]
    assert json.loads(run(environment, "inspect", f"file://{folder}", "--json").stdout)["files"]
