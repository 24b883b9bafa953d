"""Phase 2: one node's choice of which piece to fetch from which parent, over all its tasks. A pure state machine.

`Phase2.handle(event, now) -> instructions` with the events and instructions of `messages.py`. Imports the scheduler's
own files and `modeldist.artifact`, nothing else.

    machine.py   the events, one by one
    requests.py  the requests that are out, and the next ones
    fetch.py     one task: what is missing, what may be fetched from whom
    parent.py    one parent: connection, requests outstanding, measured goodput, cool-down
    choice.py    next parent, next task, next piece; the window of bytes in flight
    tail.py      requests that are late (hedged) or lost (stalled parents)
    stripes.py   a striped task: which parent brings which pieces, and which are late
    ahead.py     models that are read while they come: how far ahead the origin is asked
    pace.py      in a line: whether this node keeps up with the one before it
    reading.py   origin leases: which are read now, which wait their turn
"""

from modeldist.scheduler.phase2.config import Phase2Config
from modeldist.scheduler.phase2.machine import Phase2

__all__ = ["Phase2", "Phase2Config"]
