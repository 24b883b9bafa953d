"""Records of what somebody did by command to the database itself, beside a control plane or without one."""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import time

from modeldist.control.audit_trail import AuditRecord, record_id, storable
from modeldist.control.store.audit import AuditRecords
from modeldist.control.store.database import Database
from modeldist.control.store.meta import Meta

DONE = 200
LOCAL = "local"


async def note_deed(database: Database, action: str, asked: str, thing: str = "") -> None:
    """Note that this process's user did it: `token` is the user's name, `role` "local", `client` this machine's name.
    `asked`: the command; `thing`: what it was about. A command shows what it made after this, so nobody has a token of
    which there is no record."""
    at = max(time.time(), await Meta(database).noted_time())  # the cluster's time, as a control plane begins with it
    record = AuditRecord(
        id=record_id(int(at * 1e6), secrets.token_hex(4)),
        at=at,
        kind="deed",
        token=_user(),
        role=LOCAL,
        action=action,
        asked=asked,
        object=storable(thing),
        outcome=DONE,
        client=socket.gethostname(),
    )
    await AuditRecords(database).add([record])


def _user() -> str:
    """By the real user id, which the environment cannot change."""
    try:
        return storable(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return str(os.getuid())
