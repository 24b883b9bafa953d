"""Whether a list that is asked for page by page goes on: one that leads round has no end."""

from __future__ import annotations

from modeldist.client.replicas import Replicas
from modeldist.errors import ControlPlaneUnreachable

EMPTY = 100  # pages in a row


class Cursors:
    """Of one list."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._seen: set[str] = set()
        self._empty = 0

    def after(self, following: str | None, *, rows: int) -> str | None:
        """The cursor to ask with next, as the page with so many `rows` has it; None at the end. Raises
        ControlPlaneUnreachable for a list without an end."""
        self._empty = 0 if rows else self._empty + 1
        if following is None:
            return None
        if following in self._seen or self._empty >= EMPTY:
            what = "names a page that was read already" if following in self._seen else "goes on with empty pages"
            raise ControlPlaneUnreachable(
                f"A list of {self._replicas.url} has no end: it {what}.",
                remedy="Check the address; a proxy that keeps answers may stand in between.",
            )
        self._seen.add(following)
        return following
