"""When to ask again, and how long to wait before it."""

from __future__ import annotations

import asyncio
import datetime
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from modelpack.errors import ModelPackError, RegistryRateLimited
from modelpack.oci.deadlines import TOTAL

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """`attempts` in all; the wait doubles from `base` to `longest` seconds and is drawn from its upper half, so that
    a thousand clients do not come back at once. A Retry-After beyond `patience` seconds is not waited for: the
    caller is told of it instead. `total`: seconds after which a question is not put again; what a Retry-After asks for
    does not count. Only idempotent requests may be run by it."""

    attempts: int = 5
    base: float = 0.5
    longest: float = 20.0
    patience: float = 60.0
    total: float = TOTAL
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic

    def wait(self, failures: int, error: ModelPackError) -> float | None:
        """Seconds to wait after the `failures`-th failure in a row; None to give up."""
        if failures >= self.attempts:
            return None
        told = error.retry_after if isinstance(error, RegistryRateLimited) else None
        if told is not None and told > self.patience:
            return None
        backoff = min(self.longest, self.base * 2.0 ** (failures - 1)) * (0.5 + self.random() / 2)
        return backoff if told is None else told + self.base * self.random()

    async def run(
        self,
        operation: Callable[[], Awaitable[T]],
        transient: Callable[[ModelPackError], bool],
        *,
        within: float = math.inf,
    ) -> T:
        """The result of `operation`, asked again for `within` seconds after failures that `transient` says may pass."""
        failures, until = 0, self.clock() + within
        while True:
            try:
                return await operation()
            except ModelPackError as error:
                failures += 1
                wait = self.wait(failures, error) if transient(error) else None
                if wait is None:
                    raise
                if isinstance(error, RegistryRateLimited):
                    until += wait
                elif self.clock() + wait >= until:
                    raise
            await self.sleep(wait)


def retry_after_seconds(value: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Retry-After as seconds from `now` (Unix seconds): a number or an HTTP date; None when absent or malformed."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year or a zone of twenty digits
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=datetime.UTC)
    return max(0.0, date.timestamp() - now())
