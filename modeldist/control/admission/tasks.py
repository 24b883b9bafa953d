"""What shard tasks take, of one control plane: each member its part, and whoever opened a task the digests of its
pieces."""

from __future__ import annotations

from collections.abc import Iterable

from modeldist.artifact import Digest
from modeldist.control.admission.rooms import Rooms
from modeldist.errors import Overloaded
from modeldist.scheduler.messages import JoinTasks, Priority, TaskJoin
from modeldist.scheduler.pieces import PieceLayout, piece_size_for

MEMBER_BYTES = 2000  # a member of a task, without its bitmaps
DIGEST_BYTES = 120  # a piece's digest


class Joined:
    """Of one session: the tasks it is in. `announcing`: it has not yet said that it named everything."""

    __slots__ = ("announcing", "holder", "members")

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self.members: dict[Digest, int] = {}  # bytes of each
        self.announcing = True


class Tasks:
    """Of all sessions."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._open: dict[Digest, tuple[str, int, int]] = {}  # who opened it, bytes, members

    def admit(self, session: Joined, asked: JoinTasks) -> tuple[JoinTasks, list[tuple[TaskJoin, float]]]:
        """(what may join, what may not and in how many seconds to ask again). What a node brings along when it connects
        goes before all else, and what it reads already is never turned away."""
        priority = Priority.SERVING if session.announcing else asked.priority
        let_in: list[TaskJoin] = []
        later: list[tuple[TaskJoin, float]] = []
        for join in asked.tasks:
            try:
                self._join(session, join, priority)
            except Overloaded as error:
                later.append((join, error.retry_after or 1.0))
            else:
                let_in.append(join)
        return (JoinTasks(tuple(let_in), asked.priority) if later else asked), later

    def leave(self, session: Joined, tasks: Iterable[Digest]) -> None:
        for task in tasks:
            size = session.members.pop(task, None)
            if size is None:
                continue
            self._rooms.free(self._rooms.held, session.holder, size)
            opener, shared, members = self._open[task]
            if members > 1:
                self._open[task] = opener, shared, members - 1
            else:
                del self._open[task]
                self._rooms.free(self._rooms.held, opener, shared)

    def _join(self, session: Joined, join: TaskJoin, priority: Priority) -> None:
        if join.task in session.members:
            return
        pieces = PieceLayout(join.size, join.piece_size or piece_size_for(join.size)).count
        size = MEMBER_BYTES + pieces // 4
        known = self._open.get(join.task)
        shared = 0 if known else pieces * DIGEST_BYTES
        rooms = self._rooms
        if join.leases:
            rooms.add(rooms.held, session.holder, size + shared)
        else:
            rooms.take(rooms.held, session.holder, priority, size + shared)
        session.members[join.task] = size
        opener, before, members = known or (session.holder, shared, 0)
        self._open[join.task] = opener, before, members + 1
