"""What is mounted where, as the kernel says in /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
SUBTYPE = "modeldist"
OURS = f"fuse.{SUBTYPE}"
"""The type of our mounts."""
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mounted:
    """One line. `device` is `major:minor`; `root` the directory of the filesystem that `point` shows; `source` what the
    filesystem calls itself."""

    device: str
    root: str
    point: str
    type: str
    source: str


def parse(table: str) -> list[Mounted]:
    """In the kernel's order: of several at one point, the last is on top."""
    found = []
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) >= 6 and len(kind) >= 2:
            found.append(Mounted(fields[2], _plain(fields[3]), _plain(fields[4]), kind[0], _plain(kind[1])))
    return found


def mounted_at(point: Path) -> list[Mounted]:
    """What is mounted at `point`, an absolute path without links, from the lowest to the top."""
    wanted = str(point)
    return [mounted for mounted in parse(TABLE.read_text("utf-8", "surrogateescape")) if mounted.point == wanted]


def _plain(field: str) -> str:
    """Spaces and backslashes are written in octal."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field)
