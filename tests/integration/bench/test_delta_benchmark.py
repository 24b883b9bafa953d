"""The benchmark of new versions does what its page says, on a small model."""

from __future__ import annotations

from pathlib import Path

from modeldist.bench.delta import HEAD, changes, measure


def test_a_row_says_what_a_pull_moved(tmp_path: Path) -> None:
    (row,) = measure(tmp_path, 8 << 20, changes()[1:2])
    told = dict(zip(HEAD, row, strict=True))
    assert told["the new version"] == "the same, with a longer header"
    assert told["new bytes"] == "5.0 %"
    assert told["by pieces alone"] == "100.0 %"
    assert 5.0 < float(told["moved"].removesuffix(" %")) < 8.0
