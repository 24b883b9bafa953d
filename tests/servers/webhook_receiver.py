"""Somebody who takes webhooks: keeps what came, answers what the test says."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status = receiver.take(Came(self.path, {name.lower(): v for name, v in self.headers.items()}, body))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = WebhookReceiver(f"http://127.0.0.1:{server.server_address[1]}/hook?of=me")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
