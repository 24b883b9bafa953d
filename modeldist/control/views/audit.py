"""Who did what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditRecordView:
    """Who did what. `id` sorts by time; `at`: the cluster's time; `token`, `role`, `action` are empty for who showed no
    good token; `asked`: method and path, or the command; `object`: pull, reference, or the node of a session;
    `outcome`: the HTTP status, 101 for a session. What was done to the database by command has the user's name as
    `token`, and the role local."""

    id: str
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
    """The newest first. `since`: when the oldest that is kept was made. Of each kind (deeds, sessions, refusals) the
    newest `most` are kept, for `age` seconds."""

    records: list[AuditRecordView]
    since: float
    most: int
    age: float
    next: str | None = None
