"""Signatures as Standard Webhooks 1.0 has them: HMAC-SHA256 over `id.timestamp.body`, the secret as `whsec_BASE64`."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

from modeldist.errors import UsageError

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64  # bytes of a secret, as the specification bounds them


@dataclass(frozen=True)
class Webhook:
    """Where to tell that a pull ended, and what proves that it is us."""

    url: str
    secret: str = field(repr=False)


def key_of(secret: str) -> bytes:
    """The key of a secret. Raises UsageError, which does not tell the secret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else b""
    except ValueError:  # no base64, or not even ASCII
        key = b""
    if not SHORTEST <= len(key) <= LONGEST:
        raise UsageError(
            f"The webhook's secret is not {PREFIX} and {SHORTEST} to {LONGEST} bytes in base64.",
            remedy="Make one: echo whsec_$(openssl rand -base64 32)",
        )
    return key


def signed(message: str, timestamp: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers of a POST of `body`. `message` is the same at each attempt; `timestamp`: seconds since the epoch."""
    digest = hmac.new(key_of(secret), b"%s.%d.%s" % (message.encode(), timestamp, body), hashlib.sha256).digest()
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
