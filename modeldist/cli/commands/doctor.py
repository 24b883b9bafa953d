"""`modeldist doctor`"""

from __future__ import annotations

import os
from pathlib import Path

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import clean, put, put_json

UNFIT = 26  # exit code: a check failed


@click.command(cls=Command)
@options.as_json
@options.server
@options.token
@options.node_options("registry", "plain_http", "hf_endpoint", "store", "socket")
def doctor(as_json: bool, server: str | None, token: Path | None, here: Node) -> None:
    """Check whether this machine is fit to be a node.

    The store's disk (written and read for some seconds), free space, links and their MTU, RDMA devices and locked
    memory, limits, FUSE; whether the registry, the hub, the agent and (with --server or MODELDIST_SERVER) the control
    plane answer, whether it takes the token, and how far its clock is from this one. Needs no agent. Exit code 26 when
    something failed; warnings are no failure.

    \b
    Example:
      modeldist doctor --server https://control:7420
    """
    from modeldist.cli.control_plane import server_url, token_for
    from modeldist.cli.doctor.checks import examine

    asked = server_url(server) or os.environ.get("MODELDIST_AGENT_CONTROL")
    found = examine(here, asked.partition(",")[0] if asked else None, token_for(token))
    failed = any(finding.state == "fail" for finding in found)
    if as_json:
        put_json({"ok": not failed, "checks": found})
    else:
        width = max(len(finding.check) for finding in found)
        for finding in found:
            put(clean(f"{finding.state:<4}  {finding.check:<{width}}  {finding.found}"))
            if finding.remedy:
                put(clean(f"{'':<{width + 6}}  {finding.remedy}"))
    if failed:
        raise SystemExit(UNFIT)
