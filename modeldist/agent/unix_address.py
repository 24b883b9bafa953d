"""Unix sockets at paths of any length: the kernel's own address holds 107 bytes (`sun_path` of unix(7))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 107  # bytes, and one that ends the string


@contextmanager
def unix_address(path: Path) -> Iterator[str]:
    """What to bind or to connect a socket to. A path that does not fit is named through its open directory, so both
    sides may call a long path by its name. Raises OSError where there is no such directory."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
