"""A terminal with somebody in front of it: `modeldist` with stdin and stderr on a pty, stdout captured."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading

from tests.servers.cluster import MODELDIST
from tests.servers.shell import Shell


class Terminal:
    """A running command. `seen` is everything the terminal was sent so far; `keyboard` a descriptor to type into.
    `whole`: stdout goes there, too."""

    def __init__(
        self, shell: Shell, *arguments: str, columns: int = 110, rows: int = 30, whole: bool = False, **environment: str
    ) -> None:
        self.keyboard, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        plain = {name: value for name, value in shell.environment.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            [*MODELDIST, *arguments],
            env={**plain, "TERM": "xterm-256color", **environment},
            stdin=side,
            stdout=side if whole else subprocess.PIPE,
            stderr=side,
            text=True,
        )
        os.close(side)
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def seen(self) -> str:
        return b"".join(self._parts).decode(errors="replace")

    def finish(self) -> tuple[int, str]:
        """Exit code and stdout (empty where that went to the terminal)."""
        out, _ = self.process.communicate(timeout=60)
        self._reader.join()
        os.close(self.keyboard)
        return self.process.returncode, out or ""

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self.keyboard, 1 << 16)
            except OSError:  # EIO: the last one has left
                return
            if not part:
                return
            self._parts.append(part)
