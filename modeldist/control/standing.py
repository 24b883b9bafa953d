"""Whether this process is the one that answers: the only one, or one of several replicas (`control.replicas`)."""

from __future__ import annotations

from typing import Protocol

from modeldist.control.audit_trail import AuditTrail
from modeldist.control.plane import ControlPlane
from modeldist.control.store.tokens import Tokens
from modeldist.errors import NotLeading

ASK_AGAIN = 1.0  # seconds; what a hand-over takes


class Standing(Protocol):
    """Asked with each request. `plane` is None while this replica stands by."""

    @property
    def broken(self) -> bool:
        """Something that this process has to do by itself has ended."""

    @property
    def plane(self) -> ControlPlane | None: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def audit(self) -> AuditTrail: ...
    def refusal(self) -> NotLeading:
        """What is said meanwhile."""

    async def leave(self) -> None:
        """The process stops: end what would keep others from leading, or clients from going."""


class Alone:
    """The only one."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    @property
    def plane(self) -> ControlPlane:
        return self._plane

    @property
    def tokens(self) -> Tokens:
        return self._plane.tokens

    @property
    def audit(self) -> AuditTrail:
        return self._plane.audit

    def refusal(self) -> NotLeading:
        return stands_by("")

    @property
    def broken(self) -> bool:
        return self._plane.broken

    async def leave(self) -> None:
        self._plane.book.end_streams()


def stands_by(leader: str) -> NotLeading:
    """`leader`: the URL of the replica that led last; empty where nobody knows."""
    who = f"; the one at {leader} leads" if leader else ""
    return NotLeading(
        f"This replica of the control plane stands by{who}.",
        remedy="Ask again in a moment, or name all replicas: --server https://a,https://b (agents: --control).",
        retry_after=ASK_AGAIN,
    )
