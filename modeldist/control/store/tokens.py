"""Bearer tokens: `md_<id>_<secret>`. Only the sha256 of the secret is stored.

A secret has 256 random bits, so a fast hash is enough: there is nothing to guess that a slow one would protect.

A join token is good for one enrolment, which puts a node's own token in its place: that one's name is the node's id.

A token that was good a moment ago is not looked up again: five thousand agents that reconnect after a restart bring the
same one, and a query for each would keep them waiting for half a minute.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from sqlalchemy import CursorResult, delete, func, select
from sqlalchemy.exc import IntegrityError

from modeldist.control.store.database import Database
from modeldist.control.store.tables import TokenRow
from modeldist.errors import ControlPlaneRefused

Scope = Literal["admin", "agent", "join", "node", "read"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_TOKEN = re.compile(r"md_([0-9a-f]{16})_([0-9a-f]{64})")
_NOBODY = bytes(32)

REMEMBERED_FOR = 5.0  # seconds; a token taken out of the database opens nothing new after that
_MOST_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Token:
    """Who a bearer token belongs to; never its secret. Times in seconds since the epoch; `expires_at`: None where it
    does not expire."""

    id: str
    name: str
    scope: Scope
    created_at: float = 0.0
    expires_at: float | None = None


class Tokens:
    """The tokens that open this control plane. `now` is seconds since the epoch, `clock` monotonic seconds."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._now = now
        self._clock = clock
        self._good: dict[bytes, tuple[Token, float]] = {}  # by the hash of the text; until when
        self._looking: dict[bytes, asyncio.Task[Token | None]] = {}

    async def create(self, name: str, scope: Scope, lifetime: float | None = None) -> str:
        """A new token's text, which is shown once and never stored. It opens nothing after `lifetime` seconds."""
        token_id, secret = secrets.token_hex(8), secrets.token_hex(32)
        now = self._now()
        expires_at = None if lifetime is None else now + lifetime
        row = TokenRow(id=token_id, name=name, scope=scope, hash=_hash(secret), created_at=now, expires_at=expires_at)
        async with self._database.transaction() as session:
            session.add(row)
        return f"md_{token_id}_{secret}"

    async def enrol(self, join: Token, node: str) -> str | None:
        """The text of `node`'s own token, in the place of the join token, which is gone then. None where the join token
        was used already. Raises ControlPlaneRefused, and takes nothing, for a node that has a token."""
        token_id, secret, now = id_of(node), secrets.token_hex(32), self._now()
        async with self._database.transaction() as session:
            used = await session.execute(
                delete(TokenRow).where(TokenRow.id == join.id, TokenRow.scope == "join", TokenRow.expires_at > now)
            )
            if cast("CursorResult[object]", used).rowcount != 1:
                return None
            session.add(
                TokenRow(id=token_id, name=node, scope="node", hash=_hash(secret), created_at=now, expires_at=None)
            )
            try:
                await session.flush()
            except IntegrityError:
                raise ControlPlaneRefused(
                    f"Node {node} is enrolled already.",
                    remedy=f"If it lost what it was given, `modeldist token revoke {node}`, then enrol it again.",
                ) from None
        self._good.clear()
        return f"md_{token_id}_{secret}"

    async def still(self, token: Token) -> bool:
        """Whether it is there now, whatever is remembered."""
        async with self._database.transaction() as session:
            row = await session.get(TokenRow, token.id)
        return row is not None and row.scope == token.scope

    async def all(self) -> list[Token]:
        """Those there are, expired ones too, the oldest first."""
        async with self._database.transaction() as session:
            rows = (await session.execute(select(TokenRow).order_by(TokenRow.created_at, TokenRow.id))).scalars().all()
        return [_token(row) for row in rows]

    async def good(self) -> list[Token]:
        """Those that open something now. Others are remembered no longer."""
        columns = TokenRow.id, TokenRow.name, TokenRow.scope, TokenRow.created_at, TokenRow.expires_at
        now = self._now()
        async with self._database.transaction() as session:
            rows = (await session.execute(select(*columns))).all()
        there = {row.id for row in rows}
        self._good = {key: known for key, known in self._good.items() if known[0].id in there}
        return [
            Token(row.id, row.name, cast(Scope, row.scope), row.created_at, row.expires_at)
            for row in rows
            if row.expires_at is None or row.expires_at > now
        ]

    async def revoke(self, which: str) -> Token | None:
        """Delete the token with this id, or the only one with this name: it opens nothing after REMEMBERED_FOR
        seconds. None when there is no such token, or several have the name."""
        async with self._database.transaction() as session:
            row = await session.get(TokenRow, which)
            if row is None:
                named = (await session.execute(select(TokenRow).where(TokenRow.name == which).limit(2))).scalars().all()
                row = named[0] if len(named) == 1 else None
            if row is None:
                return None
            await session.delete(row)
        self._good.clear()
        return _token(row)

    async def verify(self, text: str) -> Token | None:
        """Whose token this is; None when it is nobody's. Takes as long for an unknown id as for a wrong secret."""
        match = _TOKEN.fullmatch(text)
        if match is None:
            return None
        key = _hash(text)
        token, until = self._good.get(key, (None, 0.0))
        if token is not None and self._clock() < until:
            return token
        looking = self._looking.get(key)
        if looking is None:
            looking = self._looking[key] = asyncio.create_task(self._look_up(key, *match.groups()), name="token")
            looking.add_done_callback(lambda _: self._looking.pop(key, None))
        return await asyncio.shield(looking)  # whoever goes away does not take the others' answer along

    async def _look_up(self, key: bytes, token_id: str, secret: str) -> Token | None:
        self._good.pop(key, None)
        async with self._database.transaction() as session:
            row = await session.get(TokenRow, token_id)
        right = hmac.compare_digest(_hash(secret), row.hash if row else _NOBODY)
        if row is None or not right or row.scope not in SCOPES:
            return None
        token, left = _token(row), REMEMBERED_FOR
        if token.expires_at is not None and (left := min(left, token.expires_at - self._now())) <= 0:
            return None
        if len(self._good) >= _MOST_REMEMBERED:
            self._good.clear()
        self._good[key] = token, self._clock() + left
        return token

    async def count(self) -> int:
        async with self._database.transaction() as session:
            return (await session.execute(select(func.count()).select_from(TokenRow))).scalar_one()


def _token(row: TokenRow) -> Token:
    return Token(row.id, row.name, cast(Scope, row.scope), row.created_at, row.expires_at)


def id_of(node: str) -> str:
    """The id of a node's own token: the same for the same node, so that the database lets it have one."""
    return hashlib.sha256(b"node\0" + node.encode()).hexdigest()[:16]


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
