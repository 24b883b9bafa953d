"""Which of a control plane's replicas is asked, and whether a question that failed is asked again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

import httpx2

from modeldist.errors import NotLeading
from modeldist.session.addresses import addresses

AGAIN_FOR = 15.0  # seconds after a first failure; a hand-over takes less than five
ROUND = 0.5  # seconds after all of them were asked


class Replicas:
    """`given`: a URL, or those of several replicas (one text with commas, or a list). Not for threads."""

    def __init__(self, given: str | Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.urls = addresses(given) or ("",)
        self._clock = clock
        self._at = 0

    @property
    def url(self) -> str:
        """The one to ask now: the last that answered, or the next."""
        return self.urls[self._at]

    @property
    def several(self) -> bool:
        return len(self.urls) > 1

    def leave(self, url: str) -> None:
        """It does not lead, or does not answer: the next one is asked, unless that was seen already."""
        if self.url == url:
            self._at = (self._at + 1) % len(self.urls)

    def key(self) -> str | None:
        """Makes a pull one that may be asked for again, where it is asked of several."""
        return secrets.token_hex(16) if self.several else None

    def attempts(self) -> Attempts:
        return Attempts(self, self._clock)


class Attempts:
    """One question."""

    def __init__(self, replicas: Replicas, clock: Callable[[], float]) -> None:
        self._replicas = replicas
        self._clock = clock
        self._failed = 0
        self._until: float | None = None

    def after(self, error: Exception, url: str, *, repeatable: bool) -> float | None:
        """Seconds until it is asked again, at the replica that is next then; None: the error stands. What may have been
        done already is asked again only if it is `repeatable`."""
        now = self._clock()
        self._until = now + AGAIN_FOR if self._until is None else self._until
        if now > self._until or not self._harmless(error, repeatable):
            return None
        self._replicas.leave(url)
        self._failed += 1
        return ROUND if self._failed % len(self._replicas.urls) == 0 else 0.0

    def _harmless(self, error: Exception, repeatable: bool) -> bool:
        if isinstance(error, NotLeading):
            return True
        if not self._replicas.several or isinstance(error, httpx2.ReadTimeout):
            return False
        return repeatable or isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
