"""`modeldist mount --background`: the same command in a session of its own, until it says that it is mounted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from modeldist.cli.terminal import say
from modeldist.mount.place import Place, directory_of


def start(store: Path, directory: Path) -> str:
    """What it printed. Leaves with its exit code, and with what it said, if it ends before."""
    place = Place(store, directory_of(directory))
    place.make()
    command = [sys.executable, "-m", "modeldist", *(word for word in sys.argv[1:] if word != "--background")]
    with place.log.open("ab") as log:
        before = log.tell()
        process = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    assert process.stdout is not None
    line = process.stdout.readline().decode().rstrip("\n")
    if ended := (not line and process.wait()):
        with place.log.open("rb") as log:
            log.seek(before)
            say(log.read().decode(errors="replace").rstrip("\n"))
        raise SystemExit(ended)
    return line
