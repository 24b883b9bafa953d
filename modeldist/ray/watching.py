"""Something that every node of a Ray cluster shall have, those that join later among them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Generic, TypeVar

from modeldist.errors import ErrorInfo, PullFailed
from modeldist.logger import Logger
from modeldist.ray.catching_up import CatchingUp
from modeldist.ray.cluster import alive, outcome

log = Logger(__name__)

_EVERY = 1.0  # seconds between looks at the cluster's nodes: Ray tells nobody of them

T = TypeVar("T")


class Watch(Generic[T]):
    """Runs from now on, in a thread of an actor. `ask`: has a node begin, given Ray's id of it and its address; what it
    answers is what it has now, or an error, after which it is asked again."""

    def __init__(self, ask: Callable[[str, str], futures.Future[T | ErrorInfo]]) -> None:
        self._ask = ask
        self._catching_up: CatchingUp[T] = CatchingUp()
        self._asked: dict[futures.Future[T | ErrorInfo], str] = {}  # nodes, by the answer to come
        self._changing = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def state(self) -> tuple[dict[str, T], dict[str, ErrorInfo]]:
        """What nodes have, and why others do not yet, by Ray's id."""
        with self._changing:
            return dict(self._catching_up.there), dict(self._catching_up.failures)

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self._look(began)
                self._hear()
            except Exception:  # Ray's head may be away for a while
                log.exception("cannot look at the cluster's nodes")
            time.sleep(max(0.0, began + _EVERY - time.monotonic()))

    def _look(self, now: float) -> None:
        nodes = alive()
        with self._changing:
            due = self._catching_up.due(nodes, now)
        for node in due:
            try:
                self._asked[self._ask(node, nodes[node])] = node
            except Exception as error:
                self._ended(node, error)

    def _hear(self) -> None:
        ended, _ = futures.wait(self._asked, _EVERY, futures.FIRST_COMPLETED)
        for future in ended:
            self._ended(self._asked.pop(future), outcome(future))

    def _ended(self, node: str, answer: T | ErrorInfo | Exception) -> None:
        if isinstance(answer, Exception):
            answer = PullFailed(f"The node was lost, or the actor there: {answer}").info()
        with self._changing:
            self._catching_up.ended(node, answer, time.monotonic())
