"""One pull by the agent of this node, and what it was, for programs other than the command line."""

from __future__ import annotations

from modeldist.agent.following import Followed
from modeldist.agent.local_client import LocalAgent
from modeldist.agent.progress import FINAL, PATIENCE_WHEN_AWAY, PullSnapshot
from modeldist.errors import AgentError
from modeldist.logger import Logger

log = Logger(__name__)


def pulled(
    agent: LocalAgent, reference: str, *, without_agent: str, patience: float = PATIENCE_WHEN_AWAY
) -> PullSnapshot:
    """Once the model is there. `without_agent`: what to do where no agent listens. One that goes away in mid-pull is
    waited for, `patience` seconds. Raises AgentError where none listens, where it stays away and where the pull is
    stopped, and what the pull failed of."""
    if not agent.running():
        raise AgentError(f"No agent listens on {agent.path}.", remedy=without_agent)
    following = Followed(agent, agent.start_pull(reference), patience=patience, away=_away)
    for _ in following:
        pass
    now = following.now
    if now.state == "done":
        return now
    if now.error:
        raise now.error.as_error()
    how = "was stopped" if now.state in FINAL else "ended with its agent"
    raise AgentError(f"The pull of {now.reference} {how}.", remedy="The agent's log says why.")


def _away(seconds: float) -> None:
    log.warning("the agent went away in mid-pull", waiting=f"{seconds:g} s at most")
