"""One pull by the agent of this node, and what it was, for actors and plugins of Ray."""

from __future__ import annotations

from pathlib import Path

from modeldist.agent.local_client import LocalAgent
from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.errors import AgentError


def pulled(agent: LocalAgent, reference: str) -> PullSnapshot:
    """Once the model is there. Raises AgentError where no agent listens or it ends, and what the pull failed of."""
    if not agent.running():
        raise _no_agent(agent.path)
    now = agent.start_pull(reference)
    for later in agent.events(now.pull):
        now = later
    if now.state == "done":
        return now
    if now.error:
        raise now.error.as_error()
    how = "was stopped" if now.state in FINAL else "ended with its agent"
    raise AgentError(f"The pull of {now.reference} {how}.", remedy="The agent's log says why.")


def _no_agent(path: Path) -> AgentError:
    return AgentError(
        f"No agent listens on {path}.",
        remedy="Call `modeldist.ray.start_agents()`, or run `modeldist agent` on every node, as the user that Ray runs "
        "as; where its socket is elsewhere, give `socket` or start Ray with MODELDIST_SOCKET.",
    )
