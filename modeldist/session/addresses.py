"""Where a control plane is asked: one URL, or those of its replicas, of which one leads."""

from __future__ import annotations

import re
from collections.abc import Sequence


def addresses(given: str | Sequence[str]) -> tuple[str, ...]:
    """URLs, each once and without a slash at its end: of a list, or of one text with commas or spaces between them."""
    parts = re.split(r"[\s,]+", given) if isinstance(given, str) else given
    return tuple(dict.fromkeys(part.rstrip("/") for part in parts if part))
