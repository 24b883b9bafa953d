"""`modeldist status`"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.control_plane import server_url
from modeldist.cli.terminal import clean, put, put_json, put_table, say
from modeldist.errors import AgentError, UsageError

if TYPE_CHECKING:
    from modeldist.agent.progress import PullSnapshot
    from modeldist.control.views import NodePage, PullPage, StatusView

_TLS = {"off": "off", "prefer": "between those that are enrolled", "require": "required"}
_NODE_TITLES = ("NODE", "ID", "STATE", "ADDRESS", "RACK", "ZONE", "ENROLLED", "LABELS", "VERSION")


@click.command(cls=Command)
@options.as_json
@options.server
@options.token
@click.option("--live", is_flag=True, help="Whether the agent works, for a probe: fails where a restart would help.")
@click.option("--ready", is_flag=True, help="Whether it could take a pull now: session with the control plane, store.")
@options.node_options("socket")
def status(as_json: bool, server: str | None, token: Path | None, live: bool, ready: bool, here: Node) -> None:
    """Show this machine's agent, or a control plane.

    The agent, its pulls, and what programs read through its gateway; with --server the control plane's nodes and
    running pulls. MODELDIST_SERVER is asked where no agent runs.

    \b
    Example:
      modeldist status --server https://control:7420
    """
    if live or ready:
        _probe(here, server, as_json=as_json, live=live, ready=ready)
        return
    if server is not None:
        _of_control_plane(server, token, as_json=as_json)
        return
    agent = here.running_agent()
    if agent is None and (server := server_url(None)):
        _of_control_plane(server, token, as_json=as_json)
        return
    if agent is None:
        raise AgentError(
            "No agent runs on this machine; pulls here work by themselves.",
            remedy="Start one with `modeldist agent`, or ask a control plane with --server URL.",
        )
    about, pulls = agent.status(), agent.pulls()
    if as_json:
        put_json({"agent": about, "pulls": pulls})
        return
    for line in agent_lines(about):
        put(clean(line))
    if pulls:
        put("")
        rows = [pull_row(pull) for pull in reversed(pulls)]
        put_table(("PULL", "REFERENCE", "STATE", "DONE", "RATE", "TIME", "FROM"), rows, right=frozenset({3, 4, 5}))


def _probe(here: Node, server: str | None, *, as_json: bool, live: bool, ready: bool) -> None:
    if server is not None or as_json:
        raise UsageError(
            "--live and --ready are about this machine's agent, and print nothing.",
            remedy="Leave --server and --json out; a control plane has /healthz and /readyz.",
        )
    if (agent := here.running_agent()) is None:
        raise AgentError("No agent runs on this machine.", remedy="Start one with `modeldist agent`.")
    if live:
        agent.live()
    if ready:
        agent.ready()


def agent_lines(about: dict[str, Any]) -> list[str]:
    """The agent itself. `about` is what GET /v1/status answers."""
    if about["connected"]:
        session = "connected"
    else:
        session = f"not connected: {about['control_error']}" if about["control_error"] else "not connected"
    serves = f"{about['address'] or 'nobody'} ({units.size(about['bytes_sent'])} sent)"
    lines = [
        f"Agent {about['name']} ({about['node']}), version {about['version']}",
        f"  control plane  {session}",
        f"  serves pieces  {serves}",
        f"  store          {about['store']} ({units.counted(about['artifacts'], 'model')})",
        f"  running pulls  {about['pulls_running']}",
        *_storage_lines(about),
    ]
    if about.get("gateway"):
        lines.insert(3, f"  gateway        http://{about['gateway']}")
    if about.get("rdma"):
        lines.append(f"  RDMA           {about['rdma']} {units.size(about['rdma_bytes'])} received")
        for reason, pieces in sorted(about["rdma_detours"].items()):
            lines.append(f"  TCP instead    {units.counted(pieces, 'piece')}: {reason}")
    return lines


def _storage_lines(about: dict[str, Any]) -> list[str]:
    lines = []
    if about.get("disk_capacity"):
        used = f"{about['disk_used'] / about['disk_capacity']:.0%} of the disk, {units.size(about['disk_used'])}"
        marks = f"; models are evicted at watermarks of {about['watermarks']}" if about["watermarks"] else ""
        lines.append(f"  storage        {used}{marks}")
    if (scrub := about.get("scrub")) is not None:
        lines.append(f"  scrub          {_scrub(scrub)}")
    elif "scrub" in about:
        lines.append("  scrub          off")
    return lines


def _scrub(scrub: dict[str, Any]) -> str:
    now, every = scrub["round"], units.duration(scrub["every"])
    if not now["began"]:
        return f"every {every}; nothing was read yet"
    found = f"{units.counted(now['damaged'], 'damaged shard')}" if now["damaged"] else "all as it should be"
    read = f"{units.counted(now['shards'], 'shard')}, {units.size(now['bytes'])}, {found}"
    if now["began"] > now["ended"]:
        total = f" of {units.size(scrub['total'])}" if scrub["total"] else ""
        waits = "; waits while the node is busy" if scrub["waiting"] else ""
        said = f"every {every}; reading: {read}{total and f',{total}'}{waits}"
    else:
        said = f"every {every}; {units.ago(max(0.0, time.time() - now['ended']))}: {read}"
    wanting = len(now["wanting"])
    return f"{said}; {units.counted(wanting, 'model')} to be repaired" if wanting else said


def pull_row(pull: PullSnapshot) -> tuple[str, ...]:
    done = f"{100 * pull.done // pull.size}%" if pull.size else ""
    fetched = pull.origin + pull.peers
    rate = units.rate(fetched / pull.seconds) if fetched and pull.seconds else ""
    state = f"{pull.state} (gateway)" if pull.gateway else pull.state
    named = (("origin", pull.origin), ("peers", pull.peers), ("here", pull.local))
    came = ", ".join(f"{name} {units.size(count)}" for name, count in named if count)
    return (units.short_id(pull.pull), pull.reference, state, done, rate, units.duration(pull.seconds), came)


def _of_control_plane(server: str, token: Path | None, *, as_json: bool) -> None:
    import asyncio

    from modeldist.cli import control_plane

    async def ask() -> tuple[StatusView, NodePage, PullPage]:
        async with control_plane.client(server, token, timeout=control_plane.ITS_OWN) as plane:
            return await plane.status(), await plane.list_nodes(), await plane.list_pulls(state="running")

    about, nodes, pulls = asyncio.run(ask())
    if as_json:
        put_json({"control": about, "nodes": nodes.nodes, "pulls": pulls.pulls})
        return
    put(clean(f"Control plane {about.cluster}, version {about.version}, up {units.duration(about.uptime)}"))
    counts = ((about.agents, "agent"), (about.models, "model"), (about.tasks, "shard task"))
    counted = ", ".join(units.counted(number, thing) for number, thing in counts)
    put(f"  {counted}, {units.counted(about.pulls_running, 'pull')} running")
    put(f"  TLS between nodes: {clean(_TLS.get(about.piece_tls, about.piece_tls))}")
    if nodes.nodes:
        put("")
        rows = [
            (
                each.name,
                units.short_id(each.node),
                "connected" if each.connected else "away",
                each.address,
                each.rack,
                each.zone,
                "enrolled" if each.enrolled else "",
                ",".join(f"{key}={value}" for key, value in sorted(each.labels.items())),
                each.version if each.version != about.version else "",
            )
            for each in sorted(nodes.nodes, key=lambda each: each.name)
        ]
        put_table(*_without_empty(_NODE_TITLES, rows))
    if pulls.pulls:
        put("")
        running = [
            (
                units.short_id(each.id),
                each.reference,
                ", ".join(f"{count} {state}" for state, count in each.states.items()),
            )
            for each in pulls.pulls
        ]
        put_table(("PULL", "REFERENCE", "NODES"), running)
    if nodes.next or pulls.next:
        say("There are more; --json shows the first hundred of each too, the REST API all of them.")


def _without_empty(
    titles: Sequence[str], rows: Sequence[tuple[str, ...]]
) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    """Columns that say nothing for any row are left out."""
    kept = [column for column in range(len(titles)) if any(row[column] for row in rows)]
    return [titles[column] for column in kept], [tuple(row[column] for column in kept) for row in rows]
