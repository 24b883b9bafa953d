"""What went wrong: an answer that is none, and a node that failed."""

from __future__ import annotations

from dataclasses import dataclass

from modeldist.errors import ErrorInfo


@dataclass(frozen=True)
class Problem:
    """An error (RFC 9457, application/problem+json). `code` is stable, `remedy` says what to do, `retry_after` when
    (seconds)."""

    title: str
    status: int
    detail: str
    code: str
    type: str = "about:blank"
    remedy: str = ""
    retry_after: float | None = None


@dataclass(frozen=True)
class ErrorView:
    """Why a node's pull failed."""

    code: str
    message: str
    remedy: str = ""

    @classmethod
    def of(cls, error: ErrorInfo) -> ErrorView:
        return cls(error.code, error.message, error.remedy)
