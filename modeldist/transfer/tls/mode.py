"""Whether nodes speak TLS with each other."""

from __future__ import annotations

from typing import Literal

PieceTls = Literal["off", "prefer", "require"]
"""off: in the clear. prefer: TLS with whoever has it, for a cluster on its way there; somebody in between can have two
nodes speak in the clear. require: nothing else, and nobody can."""
