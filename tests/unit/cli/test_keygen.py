from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from modeldist.cli.main import program


def test_both_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODELDIST_KEY_PASSWORD", raising=False)
    made = CliRunner().invoke(program, ["keygen", "release"])
    assert (made.exit_code, made.stdout) == (0, "release.key\nrelease.pub\n")
    assert all((tmp_path / name).is_file() for name in made.stdout.split())
    again = CliRunner().invoke(program, ["keygen", "release"])
    assert again.exit_code == 2 and again.stderr.startswith("modeldist: release.key is there already.")
    documented = json.loads(CliRunner().invoke(program, ["keygen", "other", "--json"]).stdout)
    assert (documented["private"], documented["public"]) == ("other.key", "other.pub")
