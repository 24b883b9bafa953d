"""A directory for what is made and not finished. Who is killed meanwhile leaves it; who comes next takes it away."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from shutil import rmtree

from modeldist.agent.store.locks import lock, try_lock

_SUFFIX = ".unfinished"
_LOCK = "lock"


@contextmanager
def unfinished(folder: Path, name: str) -> Iterator[Path]:
    """A new directory, below `folder`, gone after the block unless it was moved. What killed processes left of the same
    `name` goes first. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{escape(name)}-*{_SUFFIX}"):
        _take_away(left)
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-", suffix=_SUFFIX) as room,
        lock(Path(room) / _LOCK),
    ):
        made = Path(room) / "made"
        made.mkdir()
        yield made


def _take_away(left: Path) -> None:
    """Unless somebody works in it."""
    with suppress(OSError):
        if (left / _LOCK).is_file() and (held := try_lock(left / _LOCK, patience=0)) is not None:
            with held:
                rmtree(left, ignore_errors=True)
