"""Pulls over REST, by the public client, each from a client of its own: made, followed to its end, and timed."""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TypeVar

from modeldist.client import AsyncClient, PriorityName
from modeldist.client.calls import Call
from modeldist.errors import ModeldistError

T = TypeVar("T")


class TimedClient(AsyncClient):
    """Notes how long each answer took, refusals too."""

    answers: list[float]

    async def _once(self, call: Call[T]) -> T:
        began = time.monotonic()
        try:
            return await super()._once(call)
        finally:
            self.answers.append(time.monotonic() - began)


@dataclass(slots=True)
class Asked:
    """Of all pulls of one priority. Seconds: `accepted` until the pull was made, refusals included; `completed` until
    it had ended; `answers` of each request."""

    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    accepted: list[float] = field(default_factory=list)
    completed: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)


async def ask(
    url: str,
    token: str,
    tls: ssl.SSLContext,
    reference: str,
    node: str,
    priority: PriorityName,
    patience: float,
    to: Asked,
) -> None:
    """One pull, from the first request to its end."""
    began = time.monotonic()
    client = TimedClient(url, token, patience=patience, verify=tls)
    client.answers = to.answers
    try:
        async with client, asyncio.timeout(2 * patience):
            pull = await client.create_pull(reference, [node], priority=priority, idempotency_key=uuid.uuid4().hex)
            to.accepted.append(time.monotonic() - began)
            await client.wait(pull.id)
            to.completed.append(time.monotonic() - began)
    except (ModeldistError, TimeoutError) as error:
        to.failed[f"{type(error).__name__}: {error}"[:160]] += 1
    finally:
        to.refused.update(client.asked_again)
