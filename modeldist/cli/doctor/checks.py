"""Which checks there are, run beside each other: those of the network wait, and the disk is measured meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from modeldist.agent.this_node import Node
from modeldist.cli.doctor import disk, machine, reach
from modeldist.cli.doctor.finding import Finding, fail

Check = Callable[[], Iterator[Finding]]

WITHIN = 45.0  # seconds for all of them; each answer of the network has 5 at most, the disk is measured for about 4


def examine(here: Node, server: str | None, token: str) -> list[Finding]:
    """All findings, in the order of the checks. `server`: the control plane's URL, where there is to be one."""
    checks: dict[str, Check] = {
        "version": machine.version,
        "processors": machine.processors,
        "store": partial(disk.store, here.store),
        "link": machine.links,
        "rdma": machine.rdma,
        "open files": machine.limits,
        "fuse": machine.fuse,
        "registry": partial(reach.origin, "registry", reach.registry_url(here), wants="--registry"),
        "hub": partial(reach.origin, "hub", reach.hub_url(here), wants="HF_ENDPOINT"),
        "agent": partial(reach.agent, here),
    }
    if server:
        checks["control plane"] = partial(reach.control_plane, server, token)
    return run(checks)


def run(checks: Mapping[str, Check], within: float = WITHIN) -> list[Finding]:
    """What they found in `within` seconds. One that fails in a way nobody thought of, or does not come back (a disk
    that is away, a server that sends a byte now and then), must not hide the others."""
    found: dict[str, list[Finding]] = {name: [] for name in checks}
    running = {
        name: threading.Thread(target=_look, args=(name, check, found[name]), name=name, daemon=True)
        for name, check in checks.items()
    }
    for thread in running.values():
        thread.start()
    until = time.monotonic() + within
    for name, thread in running.items():
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            found[name] = [
                *found[name],
                fail(name, f"This has not ended within {within:g} seconds.", "What it looks at hangs: see to that."),
            ]
    return [finding for each in found.values() for finding in each]


def _look(name: str, check: Check, found: list[Finding]) -> None:
    try:
        for finding in check():
            found.append(finding)
    except Exception as error:
        found.append(fail(name, f"The check itself failed: {type(error).__name__}: {error}.", "Please report it."))
