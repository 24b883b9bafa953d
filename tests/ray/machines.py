"""Machines that look alike from inside: what each has at `here` is a directory of its own.

Ray's nodes are told apart by address; their file systems by a mount namespace each, in which `here` is that machine's
directory. So agents of one host keep their stores at one path, as agents of several hosts do.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.cluster import MODELDIST, Cluster, Process

_ENTER = 'mount --bind "$0" "$1" && shift && exec "$@"'


def inside(own: Path, here: Path) -> list[str]:
    """What goes in front of a command that shall find `own` at `here`."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *as_root, "--mount", "sh", "-c", _ENTER, str(own), str(here)]


class Machines(Cluster):
    """A control plane, and machines with an agent each, whose store and socket are in `here`. Seen from outside, a
    machine's directory is `node-N`."""

    @property
    def here(self) -> Path:
        return self.home / "here"

    def command(self, index: int) -> list[str]:
        """In front of what runs on the machine."""
        own = self.home / f"node-{index}"
        for directory in (own, self.here):
            directory.mkdir(parents=True, exist_ok=True)
        return inside(own, self.here)

    def environment_inside(self, index: int) -> dict[str, str]:
        """What differs from the environment of a program outside."""
        return {
            "MODELDIST_STORE": str(self.here / "store"),
            "MODELDIST_SOCKET": str(self.here / "agent.sock"),
            "XDG_STATE_HOME": str(self.here / "state"),
        }

    def socket(self, index: int) -> Path:
        return self.home / f"node-{index}" / "agent.sock"

    def add(self) -> None:
        """One more machine, with its agent."""
        index = len(self.agents)
        self.agents.append(self._agent_process(index))
        self.agents[index].start()
        self.wait_joined(index)

    def _agent_process(self, index: int) -> Process:
        plain = super()._agent_process(index)
        return Process(
            plain.name,
            plain.arguments,
            {**plain.environment, **self.environment_inside(index)},
            self.home,
            command=[*self.command(index), *MODELDIST],
            patience=90.0,
        )
