"""A complete snapshot shown without FUSE: the directory becomes a read-only bind mount of the store's files.

Who may mount gets what the kernel's own FUSE passthrough would give, and more (ADR 30): neither reads nor names come
here any more, and they go on should the process that served them die. The files are hard links to what was served, so
nothing that happens in the store takes them away.
"""

from __future__ import annotations

import os
import select
import shutil
from collections.abc import Mapping
from pathlib import Path

from modeldist.mount import syscalls
from modeldist.mount.mount_table import OURS, TABLE, mounted_at
from modeldist.mount.place import Place
from modeldist.mount.readable import ReadableFile
from modeldist.mount.tree import Tree


class Direct:
    """Of one mount. Everything here blocks."""

    def __init__(self, directory: Path, place: Place) -> None:
        self._directory = directory
        self._place = place
        self._watched = select.poll()
        self._shown = False

    def show(self, tree: Tree, files: Mapping[str, ReadableFile]) -> None:
        """Raises OSError where it cannot be done; then nothing has changed."""
        self._place.clear()
        try:
            _link_all(self._place.files, tree, files)
            syscalls.bind_read_only(self._place.files, self._directory)
        except OSError:
            self._place.clear()
            raise
        self._shown = True

    def wait_gone(self) -> None:
        """Return when somebody has unmounted it."""
        with TABLE.open() as table:
            self._watched.register(table, select.POLLERR | select.POLLPRI)  # what the kernel says of a change
            while self._is_on_top():
                self._watched.poll()
                table.seek(0)

    def hide(self) -> None:
        """Take it away again, if it is still there."""
        if self._shown and self._is_on_top():
            syscalls.detach(self._directory)
        self._place.clear()

    def _is_on_top(self) -> bool:
        found = mounted_at(self._directory)
        return len(found) > 1 and found[-1].type != OURS


def _link_all(folder: Path, tree: Tree, files: Mapping[str, ReadableFile]) -> None:
    folder.mkdir(mode=0o755)
    beside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # that it is named makes os.link() follow what /proc names
    try:
        for entry in tree.entries.values():  # folders before what is in them
            path = folder / entry.path
            if entry.folder:
                path.mkdir(mode=0o755, exist_ok=True)
            elif entry.size == 0:
                path.touch(mode=0o444)
            else:
                with files[entry.path].reading() as fd:
                    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=beside, follow_symlinks=True)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(beside)
