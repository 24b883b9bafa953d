"""A policy asked by a command that moves a model's files without the engine."""

from __future__ import annotations

from modeldist.agent.this_node import Node
from modelpack.reference import Reference


async def accepted(reference: Reference, here: Node) -> Reference:
    """What may be moved under this machine's policy: the reference itself where there is none, else what it means now,
    pinned. Raises Untrusted and what resolving raises."""
    if here.policy is None:
        return reference
    from modeldist.origins.router import Origins

    origins = Origins(here.origin_settings())
    try:
        return Reference.parse((await origins.resolve(str(reference))).reference)
    finally:
        await origins.close()
