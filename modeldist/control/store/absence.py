"""Whether an error means that the database is away: stopped, starting, full or cut off; not that a query is wrong."""

from __future__ import annotations

from sqlalchemy.exc import DataError, IntegrityError, InvalidRequestError, ProgrammingError, SQLAlchemyError

_OURS = (DataError, IntegrityError, InvalidRequestError, ProgrammingError)  # what only a mistake of ours makes


def is_away(error: BaseException) -> bool:
    """`asyncpg` raises errors of its own while it connects (a server that starts or stops), and what
    connects or is waited for too long ends with an OSError."""
    if isinstance(error, SQLAlchemyError):
        return not isinstance(error, _OURS)
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] == "asyncpg"
