"""What a node's uploads wait for: measured by agents, reported with their load, read by who explains a pull.

Apart, because decisions (`modeldist.scheduler`) and explanations (`modeldist.explain`) see it, and not each other.
"""

from __future__ import annotations

import msgspec


class Uploads(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node's uploads wait for: 0..1 of the time in which some were asked for. `limit` in bytes/s, None: none."""

    limit: float | None = None
    limited: float = 0.0
