"""What is made and not finished is gone afterwards, also when its maker was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from modeldist.cli.unfinished import unfinished

_MAKER = """
import sys, time
from pathlib import Path
from modeldist.cli.unfinished import unfinished
with unfinished(Path(sys.argv[1]), "a[1]") as made:
    (made / "file").write_bytes(bytes(1000))
    print(made, flush=True)
    time.sleep(600)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_who_comes_next_takes_away_what_the_killed_left(tmp_path: Path) -> None:
    mine = tmp_path / ".a[1]-mine.unfinished"
    mine.mkdir()  # somebody's own, by its looks
    with subprocess.Popen([sys.executable, "-c", _MAKER, tmp_path], stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        made = Path(maker.stdout.readline().rstrip())
        with unfinished(tmp_path, "a[1]"), unfinished(tmp_path, "another"):
            assert (made / "file").exists(), "its maker lives"
        maker.send_signal(signal.SIGKILL)
    with unfinished(tmp_path, "another"):
        assert (made / "file").exists()
    with unfinished(tmp_path, "a[1]") as again:
        assert not made.exists()
        again.rename(tmp_path / "done")
    assert names(tmp_path) == {mine.name, "done"}
