"""Which checks there are, run beside each other: those of the network wait, and the disk is measured meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from modeldist.agent.this_node import Node
from modeldist.cli.doctor import disk, machine, reach
from modeldist.cli.doctor.finding import Finding, fail

Check = Callable[[], Iterator[Finding]]


def examine(here: Node, server: str | None, token: str) -> list[Finding]:
    """All findings, in the order of the checks. `server`: the control plane's URL, where there is to be one."""
    checks: list[Check] = [
        machine.version,
        machine.processors,
        partial(disk.store, here.store),
        machine.links,
        machine.rdma,
        machine.limits,
        machine.fuse,
        partial(reach.origin, "registry", reach.registry_url(here), wants="--registry"),
        partial(reach.origin, "hub", reach.hub_url(here), wants="HF_ENDPOINT"),
        partial(reach.agent, here),
    ]
    if server:
        checks.append(partial(reach.control_plane, server, token))
    with ThreadPoolExecutor(len(checks)) as pool:
        return [finding for found in pool.map(_run, checks) for finding in found]


def _run(check: Check) -> list[Finding]:
    """One that fails in a way nobody thought of must not hide the others."""
    found = []
    try:
        for finding in check():
            found.append(finding)
    except Exception as error:
        name = getattr(check, "func", check).__name__
        found.append(fail(name, f"The check itself failed: {type(error).__name__}: {error}.", "Please report it."))
    return found
