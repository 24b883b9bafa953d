"""`python -m modeldist.bench layout` writes models, has them laid out, and tells what the command says."""

from __future__ import annotations

from pathlib import Path

from modeldist.bench.layout import measure


def test_each_layout_is_told_with_what_it_brings(tmp_path: Path) -> None:
    told = dict(measure(tmp_path, 128, 1))
    assert list(told) == ["another order, on pages", "files for ranks", "small tensors in no order"]
    assert all(any("cold load" in line for line in lines) for lines in told.values())
    assert "jumps    66 before" in "\n".join(told["another order, on pages"])
    assert "rank tp=0/4" in "\n".join(told["files for ranks"])
