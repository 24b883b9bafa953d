"""A lock is free once it is released, also while a process lives that was forked meanwhile and has its descriptor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_FORKS = """
import os, sys
from pathlib import Path
from modeldist.agent.store.locks import is_locked, lock
path = Path(sys.argv[1])
held = lock(path)
read, write = os.pipe()
if not (child := os.fork()):
    os.close(write)
    os.read(read, 1)
    held.release()  # the parent's, which has another one by now
    os._exit(0)
print(is_locked(path))
held.release()
print(is_locked(path))
with lock(path):
    os.close(write)
    os.waitpid(child, 0)
    print(is_locked(path))
"""


def test_a_forked_process_neither_keeps_a_lock_nor_frees_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FORKS, str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "False", "True"]
