"""Work done in a thread beside who takes its results: the next tensors are read while the last one is used."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from modeldist.errors import UsageError

T = TypeVar("T")

AHEAD = 256 << 20  # bytes that may be read and not taken yet; one tensor may be larger


class Beside(Generic[T]):
    """Goes through `items` in a thread of its own, as far ahead of `taken()` as `size` (bytes of one) allows."""

    def __init__(self, items: Iterator[T], size: Callable[[T], int], name: str) -> None:
        self._items = items
        self._size = size
        self._changed = threading.Condition()
        self._ready: deque[T] = deque()
        self._bytes = 0
        self._over = self._stopped = False
        self._failed: BaseException | None = None
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def taken(self) -> Iterator[T]:
        """One after the other. Raises what going through them raised, after those before it; UsageError in a
        process that was forked meanwhile."""
        while True:
            if os.getpid() != self._process:  # the thread is not in it
                raise UsageError(
                    f"This iteration was begun by process {self._process}, of which this one was forked.",
                    remedy="Begin it in the process that takes from it.",
                )
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._over)
                if not self._ready:
                    if self._failed is not None:
                        raise self._failed
                    return
                item = self._ready.popleft()
                self._bytes -= self._size(item)
                self._changed.notify_all()
            yield item

    def stop(self) -> None:
        """Have it end soon: at its next item, or when what it waits for ends."""
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()

    def join(self) -> None:
        """Once what it may wait for has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._items:
                size = self._size(item)
                with self._changed:
                    while not self._stopped and self._ready and self._bytes + size > AHEAD:
                        self._changed.wait()
                    if self._stopped:
                        return
                    self._ready.append(item)
                    self._bytes += size
                    self._changed.notify_all()
        except BaseException as error:
            self._failed = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
