"""A range that comes over a lane, part by part: read in order, hashed and written in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from modeldist.socket_to_file import NotWritable, write_all
from modeldist.transfer.base import Hash
from rdma.pool import Slot


@dataclass
class LaneFetch:
    """`[offset, offset + length)` of the file `fd` is its own. `promised` bytes have been exposed, `done` have landed.

    `on_end` is called once, when nothing touches the file any more: with "" when all has landed, else with the reason
    why the rest has to come another way (or, with `failed`, cannot be written)."""

    fd: int
    offset: int
    length: int
    hash: Hash | None
    on_end: Callable[[LaneFetch, str], None]
    lane: int
    request: int = 0
    promised: int = 0
    done: int = 0
    parts: int = 0  # exposed, and neither landed nor failed
    failure: str = ""
    failed: OSError | None = None
    arrived: deque[tuple[Slot, int]] = field(default_factory=deque)
    landing: bool = False
    ended: bool = False

    def land(self, slot: Slot, length: int) -> None:
        """The next part, in its place. A file that does not take it is in `failed`; a hash sees every byte."""
        body = slot.view[:length]
        if self.hash is not None:
            self.hash.update(body)
        if self.failed is None:
            try:
                write_all(self.fd, body, self.offset + self.done, length)
            except NotWritable as error:
                self.failed = error.error
        self.done += length
