"""modeldist puts AI model weights onto the machines that serve them.

    cli, ray, gateway ─▶ agent, control ─▶ session ─▶ scheduler, transfer, origins ─▶ artifact, errors
        ─▶ modelpack, rdma

ARCHITECTURE.md follows one pull through these rooms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modeldist.streaming import stream as stream

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "stream":  # nobody else waits for its imports
        from modeldist.streaming import stream

        return stream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
