"""The data plane's own benchmark runs; what it measures decides nothing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeldist.transfer import bench


def test_it_prints_both_contenders_and_their_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(["--size", "3", "--repeat", "1", "--directory", str(tmp_path)])
    printed = capsys.readouterr().out.splitlines()
    assert [line[:16].strip() for line in printed] == ["bare pair", "piece protocol", "ratio"]
    assert list(tmp_path.iterdir()) == []
