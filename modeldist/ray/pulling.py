"""One pull by the agent of this node, and what it was, for actors and plugins of Ray."""

from __future__ import annotations

from modeldist.agent import local_pull
from modeldist.agent.local_client import LocalAgent
from modeldist.agent.progress import PullSnapshot

_WITHOUT_AGENT = (
    "Call `modeldist.ray.start_agents()`, or run `modeldist agent` on every node, as the user that Ray runs as; where "
    "its socket is elsewhere, give `socket` or start Ray with MODELDIST_SOCKET."
)


def pulled(agent: LocalAgent, reference: str) -> PullSnapshot:
    """Once the model is there. Raises AgentError where no agent listens or it ends for good, and what the pull failed
    of."""
    return local_pull.pulled(agent, reference, without_agent=_WITHOUT_AGENT)
