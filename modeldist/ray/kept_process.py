"""A `modeldist` command that an actor keeps running: started again where it ends, and ended with the actor."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds until it is started again
_GOOD_RUN = 60.0  # seconds after which it counts as having worked
_HOPELESS = 2  # failures in a row
_STOPPING = 20.0  # seconds it has to end by itself
_LOOK = 1.0  # seconds between looks whether it is needed
_LAST_WORDS = 2000  # bytes of its log


class KeptProcess:
    """`words`: of the command line, after `modeldist`. What it says goes to `log`, which begins anew with each start.
    `needed`: whether it should run, asked while it does not."""

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], log: Path, needed: Callable[[], bool] = lambda: True
    ) -> None:
        self._words = tuple(words)
        self._environment = dict(environment)
        self._log = log
        self._needed = needed
        self._process: subprocess.Popen[bytes] | None = None
        self._unstarted = ""
        self._stopping = threading.Event()
        self.failures = 0
        """How often in a row it ended before it could have been of use."""
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    @property
    def hopeless(self) -> bool:
        """Whether it ended so often that one who waits should hear of it; it is started again all the same."""
        return self.failures >= _HOPELESS

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def last_words(self) -> str:
        """What it said at the end."""
        if self._unstarted:
            return self._unstarted
        try:
            return self._log.read_bytes()[-_LAST_WORDS:].decode(errors="replace").strip()
        except OSError as error:
            return str(error)

    def stop(self) -> None:
        """For good. Returns when it has ended."""
        self._stopping.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            if not self._needed():
                self._stopping.wait(_LOOK)
                continue
            began = time.monotonic()
            try:
                self._run()
                self._unstarted = ""
            except OSError as error:
                self._unstarted = f"It cannot be run: {error}"
            self.failures = 1 if time.monotonic() - began > _GOOD_RUN else self.failures + 1
            self._stopping.wait(min(_FIRST_PAUSE * 2.0 ** min(self.failures - 1, 10), _LONGEST_PAUSE))

    def _run(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._log.open("wb") as log:
            process = self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "modeldist.ray.tied", *self._words],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        assert process.stdin is not None
        with process.stdin:
            while process.poll() is None and not self._stopping.is_set():
                try:
                    process.wait(_LOOK)
                except subprocess.TimeoutExpired:
                    continue
        try:  # its standard input has ended, so it does
            process.wait(_STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
