"""Answering a registry's 401: basic credentials, or a bearer token from the server the registry names.

Credentials go to the registry itself or to its token server, over https unless both are on this machine's loopback or
the registry itself is spoken to in plain http at that very host. Tokens are kept per registry and scope until shortly
before they expire.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx2
import msgspec

from modelpack.errors import RegistryProtocolError, RegistryUnauthorized
from modelpack.oci.addresses import Resolve, is_loopback, may_send_to, resolve_by_system
from modelpack.oci.answers import Subject, error_for, unauthorized
from modelpack.oci.challenge import Challenge
from modelpack.oci.credentials import Credential, Credentials, encode_basic
from modelpack.oci.redirects import host_name, is_web_address

DEFAULT_EXPIRY = 60.0  # seconds; distribution's token specification, for servers that do not say
_MARGIN = 5.0  # seconds before its expiry in which a token is no longer used
_MAX_TOKEN_ANSWER = 1024 * 1024  # bytes
Scopes = tuple[str, ...]
Fetch = Callable[..., Awaitable[tuple[httpx2.Response, bytes]]]
"""Sends one request without following redirects: (method, url, subject, headers=, data=, limit=) to answer and body."""


class TokenAnswer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """An Authorization header. `expires` on the authenticator's clock; None for basic credentials, and for
    strangers the header is empty."""

    header: str = field(repr=False)
    expires: float | None
    with_credentials: bool


@dataclass
class Authenticator:
    """`fetch` sends the requests to token servers; `clock` is monotonic seconds."""

    credentials: Credentials | None
    fetch: Fetch
    resolve: Resolve = resolve_by_system
    clock: Callable[[], float] = time.monotonic
    _grants: dict[tuple[str, Scopes], Grant] = field(default_factory=dict, repr=False)
    _challenges: dict[str, Challenge] = field(default_factory=dict, repr=False)
    _locks: dict[tuple[str, Scopes], asyncio.Lock] = field(default_factory=dict, repr=False)

    async def grant(self, base: httpx2.URL, subject: Subject, scopes: Scopes) -> Grant | None:
        """What to send along: a kept grant, or a new one when the registry's challenge is known already. None before
        the first 401."""
        kept = self._kept(subject.registry, scopes)
        challenge = self._challenges.get(subject.registry)
        if kept or challenge is None:
            return kept
        return await self._fresh(base, subject, scopes, challenge, None)

    async def answer(
        self, base: httpx2.URL, subject: Subject, scopes: Scopes, challenges: Sequence[Challenge], used: Grant | None
    ) -> Grant:
        """The grant that answers a 401, after which the request is sent once more. `used` is the one it refused.
        Raises RegistryUnauthorized when there is nothing better to send."""
        challenge = _choose(challenges)
        if challenge is None:
            raise unauthorized(subject, with_credentials=bool(used and used.with_credentials))
        self._challenges[subject.registry] = challenge
        return await self._fresh(base, subject, scopes, challenge, used)

    def expires_in(self, grant: Grant) -> float | None:
        """Seconds the grant will live; None without end."""
        return None if grant.expires is None else max(0.0, grant.expires - self.clock())

    def _kept(self, registry: str, scopes: Scopes) -> Grant | None:
        grant = self._grants.get((registry, scopes))
        if grant and (grant.expires is None or grant.expires - _MARGIN > self.clock()):
            return grant
        return None

    async def _fresh(
        self, base: httpx2.URL, subject: Subject, scopes: Scopes, challenge: Challenge, used: Grant | None
    ) -> Grant:
        key = (subject.registry, scopes)
        async with self._locks.setdefault(key, asyncio.Lock()):
            kept = self._kept(*key)
            if kept and kept is not used:  # another request was here first
                return kept
            credential = None
            if self.credentials is not None:
                credential = await self.credentials.lookup(subject.registry, subject.reference.repository)
            if challenge.scheme == "basic":
                grant = self._basic(subject, credential, used)
            else:
                grant = await self._bearer(base, subject, scopes, challenge, credential)
            self._grants[key] = grant
            return grant

    @staticmethod
    def _basic(subject: Subject, credential: Credential | None, used: Grant | None) -> Grant:
        if credential is None or not credential.username:
            raise unauthorized(subject, with_credentials=False)
        grant = Grant(encode_basic(credential), None, True)
        if used and used.header == grant.header:
            raise unauthorized(subject, with_credentials=True)
        return grant

    async def _bearer(
        self, base: httpx2.URL, subject: Subject, scopes: Scopes, challenge: Challenge, credential: Credential | None
    ) -> Grant:
        realm = await self._realm(base, challenge.parameters.get("realm", ""), subject)
        asked = list(scopes)
        asked += [scope for scope in challenge.parameters.get("scope", "").split() if not _covered(scope, scopes)]
        service = challenge.parameters.get("service", "")
        response, body = await self._ask(realm, service, asked, credential, subject)
        if response.status_code != 200:
            if response.status_code in (400, 401, 403):
                raise unauthorized(subject, with_credentials=credential is not None)
            if response.is_redirect:
                raise _broken(realm, subject, "redirects")
            raise error_for(response, body, subject, with_credentials=credential is not None)
        try:
            answer = msgspec.json.decode(body, type=TokenAnswer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _broken(realm, subject, "does not answer with a token") from None
        token = answer.token or answer.access_token or ""
        if not token or not token.isascii() or not token.isprintable():
            raise _broken(realm, subject, "does not answer with a token")
        # Less scope than asked for is no error: the registry itself decides what the token is good for.
        life = answer.expires_in if answer.expires_in and answer.expires_in > 0 else DEFAULT_EXPIRY
        return Grant(f"Bearer {token}", self.clock() + life, credential is not None)

    async def _ask(
        self, realm: httpx2.URL, service: str, scopes: list[str], credential: Credential | None, subject: Subject
    ) -> tuple[httpx2.Response, bytes]:
        if credential and credential.identity_token:
            form: Mapping[str, str] = {
                "grant_type": "refresh_token",
                "refresh_token": credential.identity_token,
                "client_id": "modelpack",
                "service": service,
                "scope": " ".join(scopes),
            }
            return await self.fetch("POST", realm, subject, headers={}, data=form, limit=_MAX_TOKEN_ANSWER)
        named = [("service", service)] if service else []
        params = httpx2.QueryParams([*realm.params.multi_items(), *named, *(("scope", scope) for scope in scopes)])
        url = realm.copy_with(params=params)
        headers = {"Authorization": encode_basic(credential)} if credential else {}
        return await self.fetch("GET", url, subject, headers=headers, data=None, limit=_MAX_TOKEN_ANSWER)

    async def _realm(self, base: httpx2.URL, text: str, subject: Subject) -> httpx2.URL:
        """The token server's address, if credentials may go there."""
        try:
            realm = httpx2.URL(text)
        except (httpx2.InvalidURL, ValueError):
            realm = httpx2.URL("")
        if not is_web_address(realm):
            raise _stranger(subject, "a token server without a usable address")
        here, there = host_name(base), host_name(realm)
        if realm.scheme == "http":
            same = base.scheme == "http" and here == there
            if not same and not (is_loopback(here) and is_loopback(there)):
                raise _stranger(subject, f"the token server {there} over plain http")
        if not await may_send_to(here, there, self.resolve):
            raise _stranger(subject, f"the token server {there}, an address inside this network")
        return realm


def _choose(challenges: Sequence[Challenge]) -> Challenge | None:
    """Bearer before basic: a token can be taken from whoever overhears it and is soon worth nothing."""
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme:
                return challenge
    return None


def _covered(scope: str, scopes: Scopes) -> bool:
    name, _, actions = scope.rpartition(":")
    granted = {
        action for own in scopes if own.rpartition(":")[0] == name for action in own.rpartition(":")[2].split(",")
    }
    return set(actions.split(",")) <= granted


def _stranger(subject: Subject, whom: str) -> RegistryUnauthorized:
    return RegistryUnauthorized(
        f"{subject.registry} wants its credentials for {subject} sent to {whom}; that was refused.",
        remedy="Tell the registry's operator to name a token server reached by https.",
    )


def _broken(realm: httpx2.URL, subject: Subject, problem: str) -> RegistryProtocolError:
    return RegistryProtocolError(
        f"The token server {host_name(realm)} of {subject.registry} {problem}, asked for {subject}.",
        remedy="Try again later, or ask the registry's operator.",
    )
