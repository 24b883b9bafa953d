"""What is at the bottom of a failure to connect, however many libraries wrapped it."""

from __future__ import annotations

import errno
import os
import socket

_REFUSALS = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH)


def caused_by(error: BaseException | None, kind: type[BaseException], *, number: int | None = None) -> bool:
    """Whether `error` or what it was raised from is a `kind`, with this errno if one is given."""
    while error is not None:
        if isinstance(error, kind) and (number is None or getattr(error, "errno", None) == number):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_unknown_name(error: BaseException | None) -> bool:
    """A host's name that does not exist."""
    return caused_by(error, socket.gaierror, number=socket.EAI_NONAME)


def refusal(error: BaseException | None) -> int:
    """The errno where it was said at once that nothing listens there or no way leads there; 0 for other failures."""
    return next((number for number in _REFUSALS if caused_by(error, OSError, number=number)), 0)


def reason(error: BaseException | None) -> str:
    """The failure without what libraries say of it; empty for other failures than those above."""
    if is_unknown_name(error):
        return "its name does not resolve"
    return os.strerror(number) if (number := refusal(error)) else ""
