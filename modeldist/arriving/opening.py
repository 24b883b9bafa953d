"""Open a model that arrives."""

from __future__ import annotations

from modeldist.agent.this_node import Node, node
from modeldist.arriving.feed import Feed
from modeldist.arriving.model import ArrivingModel


def open_model(reference: str, *, here: Node | None = None, offline: bool = False) -> ArrivingModel:
    """Begin to bring a model, or the part of it that the reference selects (`…#rank=tp=0/4`), and return as soon as it
    is known what it is made of. To be closed: a `with` block does.

    `here`: the node, by default the one that the environment describes, as for the command line: its agent where one
    runs, else an engine in this process. `offline`: use what the store has, and ask nobody.

    Raises what resolving it met: InvalidReference, NotFound, AccessDenied, OriginUnavailable …, StorageError,
    AgentError.
    """
    here = here or node()
    agent = here.running_agent()
    feed: Feed
    if agent is not None:
        from modeldist.arriving.by_agent import AgentFeed

        feed = AgentFeed(agent, reference, offline=offline)
    else:
        from modeldist.arriving.embedded import EmbeddedFeed

        feed = EmbeddedFeed(here, reference, offline=offline)
    return ArrivingModel(feed, reference)
