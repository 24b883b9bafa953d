"""A policy asked by a command that moves a model's files without the engine."""

from __future__ import annotations

from modeldist.cli.node import Node


async def accepted(reference: str, here: Node) -> str:
    """What the reference means now, pinned, if this machine's policy lets it pass. Raises Untrusted and what resolving
    raises."""
    from modeldist.origins.router import Origins

    origins = Origins(here.origin_settings())
    try:
        return (await origins.resolve(reference)).reference
    finally:
        await origins.close()
