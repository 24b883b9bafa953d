"""Which node a program speaks to: the agent running on this machine, or the store itself."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.agent.config import default_socket, default_store
from modeldist.errors import AgentError, UsageError

if TYPE_CHECKING:
    from modeldist.agent.local_client import LocalAgent
    from modeldist.agent.store import Store
    from modeldist.origins.settings import OriginSettings


@dataclass(frozen=True)
class Node:
    """What the options say. `own` names the options given that only a command working by itself can follow: an agent
    has settings of its own."""

    store: Path
    hub: Path | None
    socket: Path
    agent: bool | None
    own: tuple[str, ...] = ()
    registry: str = "docker.io"
    plain_http: frozenset[str] = frozenset()
    hf_endpoint: str | None = None
    policy: Path | None = None

    def running_agent(self) -> LocalAgent | None:
        """The agent to use; None: work without. Raises AgentError when one is insisted on and none runs."""
        if self.agent is False or (self.agent is None and self.own):
            return None
        if self.socket.exists():
            from modeldist.agent.local_client import LocalAgent

            agent = LocalAgent(self.socket)
            if agent.running():
                return agent
        if self.agent:
            raise AgentError(
                f"No agent listens on {self.socket}.",
                remedy="Start it with `modeldist agent`, name its --socket, or leave --agent and --socket out.",
            )
        return None

    def open_store(self) -> Store:
        """The store itself; the caller closes it. Raises StorageError."""
        from modeldist.agent.store import Store

        return Store.open(self.store, hub=self.hub, tell=_say)

    def origin_settings(self) -> OriginSettings:
        """Origins as the person at the shell may read them: every file that the person may."""
        from modeldist.origins.settings import OriginSettings
        from modeldist.origins.trust_gate import policy_at

        return OriginSettings(
            default_registry=self.registry,
            plain_http=self.plain_http,
            hf_endpoint=self.hf_endpoint,
            file_roots=None,
            policy=policy_at(self.policy),
        )


def _say(text: str) -> None:
    sys.stderr.write(f"modeldist: {text}\n")


def node(
    *,
    store: Path | None = None,
    hub: Path | None = None,
    socket: Path | None = None,
    agent: bool | None = None,
    registry: str | None = None,
    plain_http: list[str] | None = None,
    hf_endpoint: str | None = None,
    policy: Path | None = None,
) -> Node:
    """A Node of a command's options; what was not given comes from the environment. Raises UsageError."""
    given = {"--store": store, "--hub": hub, "--registry": registry, "--plain-http": plain_http}
    own = tuple(name for name, value in {**given, "--hf-endpoint": hf_endpoint, "--policy": policy}.items() if value)
    if agent and own:
        raise UsageError(
            f"{' and '.join(own)} cannot be used with --agent: the agent has settings of its own.",
            remedy="Leave --agent out to work without the agent, or set it where the agent is started.",
        )
    if socket is not None and agent is None and not own:
        agent = True
    return Node(
        store=(store or default_store()).expanduser().absolute(),
        hub=hub.expanduser().absolute() if hub else None,
        socket=socket or default_socket(),
        agent=agent,
        own=own,
        registry=default_registry(registry),
        plain_http=frozenset(plain_http or ()),
        hf_endpoint=hf_endpoint,
        policy=policy,
    )


def default_registry(given: str | None) -> str:
    """The option, else MODELDIST_REGISTRY, else Docker Hub."""
    return given or os.environ.get("MODELDIST_REGISTRY") or "docker.io"
