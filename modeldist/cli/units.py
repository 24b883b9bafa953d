"""Numbers as people write and read them."""

from __future__ import annotations

# ruff: noqa: PLC0414 - callers have them from here
from modeldist.agent.amounts import parse_duration as parse_duration
from modeldist.agent.amounts import parse_size as parse_size
from modeldist.units import ago as ago
from modeldist.units import counted as counted
from modeldist.units import duration as duration
from modeldist.units import rate as rate
from modeldist.units import short_id as short_id
from modeldist.units import size as size
