"""Webhooks, checked: whoever takes them knows that they are the control plane's, complete and new."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping

import msgspec

from modeldist.control.views import PullNotice
from modeldist.control.webhooks.signing import signed
from modeldist.errors import UNDECODABLE, InvalidWebhook

TOLERANCE = 300.0  # seconds; what Standard Webhooks' own libraries allow


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secret: str,
    *,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> PullNotice:
    """What a webhook tells, once its signature (Standard Webhooks) holds.

    `body` as it came, not decoded and encoded again. `headers` of any spelling. `secret`: what was given with the pull.
    `tolerance`: seconds that its time may differ from `now` (seconds since the epoch; the clock's). Raises
    InvalidWebhook, and UsageError for a secret that is none. A `webhook-id` that was taken before is the caller's to
    notice: the same one comes again when the answer was lost.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message, sent, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        timestamp = int(sent)
    except KeyError as error:
        raise InvalidWebhook(f"The header {error.args[0]} is missing.", remedy="Refuse it with 400.") from None
    except ValueError:
        raise InvalidWebhook("The header webhook-timestamp is no time.", remedy="Refuse it with 400.") from None
    expected = signed(message, timestamp, body, secret)["webhook-signature"]
    if not any(hmac.compare_digest(expected.encode(), each.encode()) for each in signatures.split()):
        raise InvalidWebhook(
            "The signature is not that of this secret and body.",
            remedy="Refuse it with 401; check the secret, and that the body is the very bytes that came.",
        )
    if abs((time.time() if now is None else now) - timestamp) > tolerance:
        raise InvalidWebhook(
            f"The webhook was signed more than {tolerance:.0f} seconds ago, or will be.",
            remedy="Refuse it with 400; check this machine's clock.",
        )
    try:
        return msgspec.json.decode(body, type=PullNotice)
    except UNDECODABLE as error:
        raise InvalidWebhook(f"The body tells of no pull: {error}.", remedy="Upgrade modeldist here.") from error
