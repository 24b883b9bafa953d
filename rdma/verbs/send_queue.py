"""What is on a queue pair's send queue and what waits for a place on it. Pure code.

A device works through a send queue in order, so one completion says that everything before it is done too: only the
last operation of a ticket, and the last of each batch, asks for one. An operation keeps its place until then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Operation = TypeVar("Operation")
Ticket = TypeVar("Ticket")


@dataclass(frozen=True)
class Posting(Generic[Operation]):
    """An operation to post under `number`; `signaled`: with a completion."""

    number: int
    operation: Operation
    signaled: bool


class SendQueue(Generic[Operation, Ticket]):
    """`depth`: places on the device's queue."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._waiting: deque[tuple[Operation, Ticket | None]] = deque()  # the last operation carries the ticket
        self._posted: deque[tuple[int, Ticket | None]] = deque()
        self._number = 0

    def __len__(self) -> int:
        """Operations that are not done."""
        return len(self._waiting) + len(self._posted)

    def add(self, ticket: Ticket, operations: Iterable[Operation]) -> None:
        """Queue the operations of a ticket, at least one. It is done when they all are."""
        *first, last = operations
        self._waiting.extend((operation, None) for operation in first)
        self._waiting.append((last, ticket))

    def batch(self) -> list[Posting[Operation]]:
        """What to post now, in order."""
        batch = []
        while self._waiting and len(self._posted) < self._depth:
            operation, ticket = self._waiting.popleft()
            self._number += 1
            self._posted.append((self._number, ticket))
            more = bool(self._waiting) and len(self._posted) < self._depth
            batch.append(Posting(self._number, operation, ticket is not None or not more))
        return batch

    def completed(self, number: int) -> list[Ticket]:
        """The device is done with everything up to `number`: the tickets that are done."""
        done = []
        while self._posted and self._posted[0][0] <= number:
            _, ticket = self._posted.popleft()
            if ticket is not None:
                done.append(ticket)
        return done

    def abandon(self) -> list[Ticket]:
        """Nothing more will be done: all tickets that are not, in order."""
        left = [ticket for _, ticket in self._posted] + [ticket for _, ticket in self._waiting]
        self._posted.clear()
        self._waiting.clear()
        return [ticket for ticket in left if ticket is not None]
