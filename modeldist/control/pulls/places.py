"""What running pulls hold of the control plane's rooms: a place each, and the bytes that they take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from modeldist.control.admission.rooms import NOBODY, Rooms
from modeldist.control.pulls.pull import Pull
from modeldist.scheduler.messages import Priority


class Place:
    """Of one pull. `keep` it, and it stays until the pull has ended."""

    __slots__ = ("_rooms", "_size", "holder", "kept")

    def __init__(self, rooms: Rooms, holder: str) -> None:
        self._rooms = rooms
        self._size = 0
        self.holder = holder
        self.kept = False

    def hold(self, size: int, priority: Priority) -> None:
        """Bytes, asked for. Raises Overloaded."""
        self._rooms.take(self._rooms.held, self.holder, priority, size)
        self._size += size

    def grow(self, size: int) -> None:
        """Bytes more, or fewer."""
        if size > 0:
            self._rooms.add(self._rooms.held, self.holder, size)
        elif size:
            self._rooms.free(self._rooms.held, self.holder, -size)
        self._size += size

    def give_back(self) -> None:
        self._rooms.free(self._rooms.pulls, self.holder)
        self.grow(-self._size)


class Places:
    """By the ids of running pulls."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._of: dict[str, Place] = {}

    @contextmanager
    def taken(self, holder: str, priority: Priority) -> Iterator[Place]:
        """A place that is given back at the end of the block, unless it is kept. Raises Overloaded."""
        self._rooms.take(self._rooms.pulls, holder, priority)
        place = Place(self._rooms, holder)
        try:
            yield place
        finally:
            if not place.kept:
                place.give_back()

    def keep(self, pull: Pull, place: Place) -> None:
        place.kept = True
        self._of[pull.id] = place

    def found(self, pull: Pull) -> None:
        """It ran before this control plane did."""
        self._rooms.add(self._rooms.pulls, NOBODY)
        place = Place(self._rooms, NOBODY)
        place.grow(pull.held)
        self.keep(pull, place)

    def grew(self, pull: Pull, size: int) -> None:
        """By so many bytes: a node takes part, or said more."""
        if size and (place := self._of.get(pull.id)) is not None:
            place.grow(size)

    def ended(self, pull: Pull) -> None:
        if (place := self._of.pop(pull.id, None)) is not None:
            place.give_back()
