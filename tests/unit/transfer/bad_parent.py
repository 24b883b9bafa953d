"""A parent that does what the test's script says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from modeldist.transfer.frame_reader import Event, FrameReader

Script = Callable[["BadParent"], None]
Frame = TypeVar("Frame")


class BadParent:
    """Runs a script with the first connection it gets."""

    def __init__(self, script: Script) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._script = script
        self.done = threading.Event()
        self._reader = FrameReader()
        self._heard: deque[Event] = deque()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _run(self) -> None:
        self.sock, _ = self._listener.accept()
        with self.sock, contextlib.suppress(EOFError):
            self._script(self)

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hear(self, kind: type[Frame]) -> Frame:
        """Wait for a frame of this kind; others are passed over. Raises EOFError when the child has gone."""
        while True:
            while self._heard:
                if isinstance(event := self._heard.popleft(), kind):
                    return event
            data = self.sock.recv(self._reader.wants)
            if not data:
                raise EOFError
            self._heard.extend(self._reader.receive(data))

    def close(self) -> None:
        self.done.set()
        with socket.socket() as knock:  # in case nobody ever connected
            knock.connect_ex(self._listener.getsockname())
        self._thread.join()
        self._listener.close()


Parents = Callable[[Script], BadParent]


def bad_parents() -> Iterator[Parents]:
    """For a fixture: makes parents, and ends them."""
    made: list[BadParent] = []

    def make(script: Script) -> BadParent:
        made.append(BadParent(script))
        return made[-1]

    yield make
    for parent in made:
        parent.close()
