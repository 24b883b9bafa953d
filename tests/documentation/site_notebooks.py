"""The notebooks do what they say, cell after cell, and have kept what their cells gave. `make docs` runs this;
notebooks/streaming.ipynb is run by `make test`, notebooks/ray.ipynb by `make test-ray`."""

from __future__ import annotations

import pytest

from tests import notebooks

HERE = ("capacity.ipynb", "quickstart.ipynb", "swarm.ipynb")
ELSEWHERE = {"ray.ipynb", "streaming.ipynb"}
MOST = 200_000  # bytes of a notebook with its pictures


@pytest.fixture(autouse=True)
def _without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")


def test_quick_start(capsys: pytest.CaptureFixture[str]) -> None:
    notebooks.run("quickstart.ipynb")
    said = capsys.readouterr().out
    assert "4 tensors, all equal" in said


def test_a_swarm_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    names = notebooks.run("swarm.ipynb")
    assert "A = 1.0000" in capsys.readouterr().out
    assert names["filled"] == 1.0, "in the last picture everybody has everything"
    assert len(names["fig"].axes) == 4  # type: ignore[attr-defined]


def test_capacity_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    """It checks its own answer against the fluid limit."""
    names = notebooks.run("capacity.ipynb")
    answer = names["answer"]
    assert 1.0 <= answer.r <= names["MOST"]  # type: ignore[attr-defined,operator]
    assert f"R = {answer.r:.3f} is between" in capsys.readouterr().out  # type: ignore[attr-defined]


def test_all_are_run_somewhere() -> None:
    assert {path.name for path in notebooks.FOLDER.glob("*.ipynb")} == {*HERE, *ELSEWHERE}


@pytest.mark.parametrize("name", HERE)
def test_what_is_kept_is_small_and_whole(name: str) -> None:
    assert (notebooks.FOLDER / name).stat().st_size < MOST
    cells = [cell for cell in notebooks.read(name)["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs, f"python -m tests.notebooks {name} keeps them"
    assert all(output["output_type"] in ("stream", "execute_result") for output in outputs)
    if name != "quickstart.ipynb":
        assert any("image/png" in output.get("data", {}) for output in outputs)
