"""One pull by the agent of this node, and what it was, for programs other than the command line."""

from __future__ import annotations

from modeldist.agent.local_client import LocalAgent
from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.errors import AgentError


def pulled(agent: LocalAgent, reference: str, *, without_agent: str) -> PullSnapshot:
    """Once the model is there. `without_agent`: what to do where no agent listens. Raises AgentError there and where
    the pull is stopped, and what the pull failed of."""
    if not agent.running():
        raise AgentError(f"No agent listens on {agent.path}.", remedy=without_agent)
    now = agent.start_pull(reference)
    for later in agent.events(now.pull):
        now = later
    if now.state == "done":
        return now
    if now.error:
        raise now.error.as_error()
    how = "was stopped" if now.state in FINAL else "ended with its agent"
    raise AgentError(f"The pull of {now.reference} {how}.", remedy="The agent's log says why.")
