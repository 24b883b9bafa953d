"""The notebook does what it says, cell after cell, and draws what it is about."""

from __future__ import annotations

import shutil

import pytest

from tests import notebooks


@pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="nginx is not installed")
def test_every_cell_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("SIZE", "24")
    monkeypatch.setenv("RATE", "80")
    monkeypatch.delenv("MODEL", raising=False)
    names = notebooks.run("streaming.ipynb")
    said = capsys.readouterr().out
    assert "32 tensors: the first after" in said
    assert "loading alone:" in said
    above, below = names["fig"].axes  # type: ignore[attr-defined]
    verified, given = above.collections
    assert len(verified.get_segments()) >= 24 * 4, "of every 256 KiB, when it came"
    assert len(given.get_offsets()) == 32, "a dot for each tensor"
    assert {text.get_text() for text in below.get_legend().get_texts()} == {"verified", "tensors", "pull, then load"}
