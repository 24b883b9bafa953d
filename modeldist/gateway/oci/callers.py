"""Who asks: the credential of a request, given by Basic or by a token that stands for one.

Clients of registries send credentials only where they were asked for them, and those without any have to be let in
too. So the API's root asks for a token, which everybody gets, as from a public registry: it stands for what they gave.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from modelpack.oci.credentials import Credential

LIFE = 3600.0  # seconds of a token
_MOST = 4096  # tokens
_ANONYMOUS = "anonymous"


class UnknownToken(Exception):
    """Of an earlier agent on this port, or too old: the client must get another one."""


class Callers:
    """Tokens of one process. `clock` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, tuple[Credential, float]] = OrderedDict()  # until when

    def token(self, authorization: str) -> str:
        """One that stands for the credential in the header. Raises UnknownToken: what is in it is none."""
        credential = self.credential(authorization)
        if credential is None:
            return _ANONYMOUS
        token = secrets.token_urlsafe(32)
        self._known[token] = (credential, self._clock() + LIFE)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return token

    def credential(self, authorization: str) -> Credential | None:
        """Of the header; None: nobody in particular. Raises UnknownToken."""
        scheme, _, rest = authorization.strip().partition(" ")
        match scheme.lower():
            case "":
                return None
            case "basic":
                return _basic(rest.strip())
            case "bearer":
                return self._of(rest.strip())
            case _:
                raise UnknownToken

    def _of(self, token: str) -> Credential | None:
        if token == _ANONYMOUS:
            return None
        credential, until = self._known.get(token, (None, 0.0))
        if credential is None or self._clock() >= until:
            raise UnknownToken
        return credential


def _basic(text: str) -> Credential | None:
    """None for an empty name and password, which some clients send for nobody."""
    try:
        name, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise UnknownToken from None
    if not colon:
        raise UnknownToken
    return Credential(name, password) if name or password else None
