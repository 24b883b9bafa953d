"""Who did what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditRecordView:
    """Who did what. `number` grows; `token`, `role`, `action` are empty for who showed no good token; `asked`: method
    and path; `object`: pull, reference; `outcome`: the HTTP status, 101 for a session."""

    number: int
    at: float
    token: str
    role: str
    action: str
    asked: str
    object: str
    outcome: int
    client: str


@dataclass(frozen=True)
class AuditPage:
    """The newest first, as far back as this process remembers: to `since`, when it began. The log has all."""

    records: list[AuditRecordView]
    since: float
    next: str | None = None
