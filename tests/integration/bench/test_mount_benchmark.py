"""`python -m modeldist.bench mount` measures what it says. Its figures mean nothing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeldist.bench.mount import main
from tests.integration.mount.mounts import needs_fuse

pytestmark = needs_fuse


def test_all_ways_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--size", "4", "--repeat", "1", "--directory", str(tmp_path)])
    said = capsys.readouterr().out
    for way in ("plain", "direct", "FUSE"):
        assert f"| {way} | " in said
    assert "0.7 is wanted" in said
    assert not list(tmp_path.iterdir())
