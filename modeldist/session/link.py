"""The agent's end of a session, whatever carries it.

`control.inprocess.InProcessControl` (embedded mode) and `agent.link.WebSocketLink` (a control plane elsewhere)
implement it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from modeldist.session.messages import FromAgent, FromControl, Hello, Welcome


class Session(Protocol):
    """One open session. `welcome` is the control plane's answer to our Hello."""

    @property
    def welcome(self) -> Welcome: ...

    async def send(self, message: FromAgent) -> None:
        """Queue a message. Raises ControlPlaneUnreachable once the session is broken."""

    def receive(self) -> AsyncIterator[FromControl]:
        """Messages until the session ends (normally or not); never raises for a broken connection."""


class ControlLink(Protocol):
    """Opens sessions. The agent reconnects with back-off by opening again."""

    def open(self, hello: Hello) -> AbstractAsyncContextManager[Session]:
        """Raises ControlPlaneUnreachable or ControlPlaneRefused."""
