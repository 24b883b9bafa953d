"""Somebody who takes webhooks: keeps what came, answers what the test says."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.servers.quiet_http import QuietHandler, QuietServer
from tests.servers.scripted_agent import PATIENCE


@dataclass(frozen=True)
class Came:
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


class WebhookReceiver:
    """Answers the statuses of `answers`, one after the other, then 204."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[int] = []
        self._came: queue.Queue[Came] = queue.Queue()

    async def next(self) -> Came:
        return await asyncio.to_thread(self._came.get, timeout=PATIENCE)

    @property
    def empty(self) -> bool:
        return self._came.empty()

    def take(self, came: Came) -> int:
        self._came.put(came)
        return self.answers.pop(0) if self.answers else 204


@contextmanager
def webhook_receiver() -> Iterator[WebhookReceiver]:
    class Handler(QuietHandler):
        def do_POST(self) -> None:
            status = receiver.take(Came(self.path, {name.lower(): v for name, v in self.headers.items()}, self.body()))
            self.answer(status, headers={"Location": "/elsewhere"} if 300 <= status < 400 else {})

    server = QuietServer(Handler)
    receiver = WebhookReceiver(f"{server.url}/hook?of=me")
    with server:
        yield receiver
