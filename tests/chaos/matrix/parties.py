"""The processes of a world, each in its network namespace: what can be killed, stopped, slowed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from tests.servers.cluster import Process

_PATIENCE = 120.0  # seconds to start on a machine that does other things
_AWAKE, _ASLEEP = 0.02, 0.18  # seconds of each stroke of a process that is slow
_ESTABLISHED, _LISTENING = "01", "0A"  # include/net/tcp_states.h


class Party(Process):
    """`role` is its namespace; `ready` says whether it does its work; `ends_by` is the signal to end as it should."""

    def __init__(
        self,
        name: str,
        role: str,
        command: list[str],
        arguments: list[str],
        home: Path,
        *,
        ready: Callable[[Party], bool],
        ends_by: signal.Signals = signal.SIGTERM,
        environment: dict[str, str] | None = None,
    ) -> None:
        all_of_it = {**os.environ, **(environment or {})}
        super().__init__(name, arguments, all_of_it, home, command=command, patience=_PATIENCE)
        self.role = role
        self._ready = ready
        self._ends_by = ends_by

    def well(self) -> None:
        """Running, awake and at work; started if it is not."""
        self.wake()
        if not self.running:
            self.start()
        self.wait_for(f"{self.name} to work", lambda: self._ready(self))

    @property
    def works(self) -> bool:
        """Running and at work."""
        return self.running and self._ready(self)

    def restart(self) -> None:
        """It ends as it should, and begins again."""
        if self.running:
            self.wake()
            self._end(self._ends_by)
        self.start()

    def kill(self) -> None:
        """SIGKILL, its children too."""
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        super().kill()

    def sleep(self) -> None:
        """SIGSTOP, its children too."""
        self._tell(signal.SIGSTOP)

    def wake(self) -> None:
        self._tell(signal.SIGCONT)

    @contextlib.contextmanager
    def slowed(self) -> Iterator[None]:
        """Stopped nine tenths of the time."""
        with strokes(self.sleep, self.wake, _ASLEEP, _AWAKE):
            yield

    # --- looked at from outside, without entering its namespace ---

    def listens(self, port: int) -> bool:
        return self.running and any(state == _LISTENING for state, _ in self._sockets(port))

    def is_asked(self, port: int) -> bool:
        """Whether somebody has sent it what it has not read yet."""
        return any(state == _ESTABLISHED and unread for state, unread in self._sockets(port))

    def sent(self) -> int:
        """Bytes that left its namespace, on any connection; 0 where nothing runs in it."""
        try:
            lines = Path(f"/proc/{self.pid}/net/dev").read_text().splitlines()
        except OSError:
            return 0
        return sum(int(line.split(":")[1].split()[8]) for line in lines if line.lstrip().startswith("eth0:"))

    def _sockets(self, port: int) -> Iterator[tuple[str, int]]:
        """(state, bytes that wait to be read) of those on one of its ports."""
        try:
            lines = Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]
        except OSError:
            return
        for line in lines:
            _, local, _, state, queues, *_ = line.split()
            if int(local.rpartition(":")[2], 16) == port:
                yield state, int(queues.partition(":")[2], 16)

    def _tell(self, what: signal.Signals) -> None:
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(what)

    def _tree(self) -> list[psutil.Process]:
        if not self.running:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            itself = psutil.Process(self.pid)
            return [itself, *itself.children(recursive=True)]
        return []


@contextlib.contextmanager
def strokes(begin: Callable[[], None], end: Callable[[], None], on: float, off: float) -> Iterator[None]:
    """`begin` and `end` in turns, for so many seconds each, until the block is over; then it has ended."""
    over = threading.Event()

    def beat() -> None:
        while not over.is_set():
            begin()
            over.wait(on)
            end()
            over.wait(off)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        end()


def registry_config(storage: Path, address: str, port: int, blobs: str) -> str:
    """JSON, which is YAML. `blobs`: URL of the web server that clients are sent to for blobs."""
    return json.dumps(
        {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {
                "filesystem": {"rootdirectory": str(storage)},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "middleware": {"storage": [{"name": "redirect", "options": {"baseurl": blobs}}]},
            "http": {"addr": f"{address}:{port}", "secret": "of the tests"},
        }
    )


def nginx_config(home: Path, root: Path, address: str, port: int) -> str:
    """One process that serves files below `root` and writes what each answer cost into `origin-access.log`."""
    return f"""
daemon off;
master_process off;
user root;
pid {home}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  log_format cost '$request_uri $body_bytes_sent';
  access_log {home}/origin-access.log cost;
  client_body_temp_path {home}/nginx-body;
  proxy_temp_path {home}/nginx-proxy;
  fastcgi_temp_path {home}/nginx-fastcgi;
  uwsgi_temp_path {home}/nginx-uwsgi;
  scgi_temp_path {home}/nginx-scgi;
  sendfile on;
  default_type application/octet-stream;
  server {{ listen {address}:{port}; root {root}; }}
}}
"""
