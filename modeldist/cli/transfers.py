"""What a command has moved, for its last line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.oci import Progress


class Account:
    """Adds up what was sent or fetched, mounted, and there already. Bytes."""

    def __init__(self) -> None:
        self.moved = self.mounted = self.present = 0

    def add(self, progress: Progress) -> None:
        setattr(self, progress.how, getattr(self, progress.how) + progress.done)
