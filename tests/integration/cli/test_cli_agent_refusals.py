"""What an agent is not started with: one sentence instead of attempts without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.shell import Shell


@pytest.mark.parametrize("option", ["--token-file", "--join-token-file"])
def test_a_file_that_holds_no_text(shell: Shell, tmp_path: Path, option: str) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    assert "utf-8" in shell.fails(2, "agent", option, str(tmp_path / "token"))
    assert "Is a directory" in shell.fails(2, "agent", option, str(tmp_path))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--name", "two\nlines"), "The setting name is wrong: 'two\\nlines' is not 255 printable characters"),
        (("--name", "\udcff"), "The setting name is wrong"),
        (("--zone", "z" * 256), "The setting zone is wrong"),
        (("--label", "key=\x07"), "The setting labels is wrong"),
    ],
)
def test_names_that_the_control_plane_would_refuse(shell: Shell, options: tuple[str, ...], says: str) -> None:
    assert says in shell.fails(2, "agent", *options, "--control", "http://127.0.0.1:9")
