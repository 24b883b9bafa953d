"""Who else may change what is in a directory."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path


def others_who_may_write(directory: Path) -> str:
    """Who beside this user and root, for a sentence: everybody, or whose it is; empty: nobody. Groups were meant, and
    in a sticky directory others can add files and change none. Raises OSError."""
    facts = directory.stat()
    if facts.st_mode & stat.S_IWOTH and not facts.st_mode & stat.S_ISVTX:
        return "everybody"
    if facts.st_uid not in (0, os.geteuid()):
        return f"the user {_name(facts.st_uid)}, whose it is,"
    return ""


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
