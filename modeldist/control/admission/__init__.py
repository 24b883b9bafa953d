"""What the control plane lets in while it has room, and what it tells those it does not let in.

    drain.py    how fast places become free
    room.py     one ceiling: who holds how much of it, who may have more, when to ask again
    rooms.py    all ceilings of one control plane, and how full its memory is
    memory.py   how much memory this process may have, and has

Pure but for memory.py, which reads two files. Imports errors and scheduler.messages alone.
"""
