"""`python -m modeldist.ray.tied agent …`: a `modeldist` command that ends with whoever started it.

Standard input is a pipe from there, which nobody writes into: at its end, however that came about, the command is told
to stop as by a service manager.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _follow() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_follow, daemon=True).start()
    runpy.run_module("modeldist", run_name="__main__", alter_sys=True)
