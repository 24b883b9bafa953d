"""Logging of the server: one line an event, for people or as JSON. Tokens are never logged."""

from __future__ import annotations

import io
import logging
import sys
from typing import Literal, TextIO

import structlog

from modeldist.logger import facts

AUDIT = "modeldist.audit"  # the log of who did what (`api/audit.py`)
AUDIT_FIELDS = frozenset({"action", "asked", "client", "object", "outcome", "role", "token", "token_id"})
"""What its records may have beside their event."""
FIELDS = frozenset({"node", "pull", "reference", "shard", "state", "task", "trace_id"})
"""What records about pulls have, by the names of docs/observability.md."""


def _with_facts(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What this is about, as whoever does it has said; what a record says itself goes before."""
    return {**facts(), **event}


def _on_one_line(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """For people: names and messages come from agents and origins, too, and none of them may begin a record of its own
    or drive a terminal. Of what is no text, `repr` is shown."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def printable(text: str) -> str:
    """`text` with escapes in the place of what cannot be seen, line ends among them."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Without values of variables, which may be secrets. Indented: an error's message may be of several lines."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    out.write("".join(f"\n  {printable(line)}" for line in plain.getvalue().splitlines() if line))


def _no_refusals(record: logging.LogRecord) -> bool:
    """uvicorn calls an agent that was refused with 401 an error of the application; we log the refusal itself."""
    return "without completing handshake" not in record.getMessage()


def configure_logging(form: Literal["console", "json"], level: str) -> None:
    """Send everything (ours, uvicorn's, SQLAlchemy's) to stderr in one form."""
    shared: list[structlog.typing.Processor] = [
        _with_facts,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=_traceback,
        )
    )
    processors: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    processors.append(structlog.processors.format_exc_info if form == "json" else _on_one_line)
    handler = logging.StreamHandler(sys.stderr)
    foreign: list[structlog.typing.Processor] = [*shared, structlog.stdlib.ExtraAdder(allow=AUDIT_FIELDS | FIELDS)]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=foreign, processors=[*processors, last]))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger(AUDIT).setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addFilter(_no_refusals)
    for chatty in ("alembic", "aiosqlite", "uvicorn.error", "httpx2", "sqlalchemy", "modeldist.control.session_socket"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
