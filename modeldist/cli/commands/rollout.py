"""`modeldist rollout`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modeldist.cli import options, units
from modeldist.cli.boundary import Command, fail
from modeldist.cli.control_plane import client
from modeldist.cli.key_values import key_values
from modeldist.cli.terminal import clean, put, put_json, put_table, say
from modeldist.errors import AgentError, NotFound, UsageError

if TYPE_CHECKING:
    from modeldist.client import AsyncClient, Nodes
    from modeldist.control.views import NodeUpdateView, RolloutView

LOOK = 1.0  # seconds between two looks
ENDED = ("done", "failed", "aborted")
_NAMED = 5  # nodes in one sentence


@click.group()
def rollout() -> None:
    """Update agents and the control plane to a release.

    \b
    Example:
      modeldist rollout start registry.example/ops/modeldist:0.2.0 --all --wait
    """


@rollout.command(cls=Command)
@click.argument("release", metavar="REF")
@click.option("--nodes", metavar="A,B,…", help="These nodes, by name or id.")
@click.option("--all", "everyone", is_flag=True, help="Every node that is connected.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="Nodes with this label (repeatable: all of them).")
@click.option("--canary", type=click.IntRange(min=1), metavar="N", help="Nodes that are first. [default: 1]")
@click.option("--waves", metavar="P,P,…", help="Then so many of each hundred. [default: 10,50,100]")
@click.option("--most-away", type=click.IntRange(min=1), metavar="N", help="Nodes that restart at a time. [default: 1]")
@click.option("--health", metavar="TIME", help="For which each has to be well. [default: 60s]")
@click.option("--within", metavar="TIME", help="In which the new version has to come up. [default: 60s]")
@click.option("--drain", metavar="TIME", help="For what a node reads from the origin. [default: 30s]")
@click.option("--tolerate", type=click.IntRange(min=0), metavar="N", help="Nodes that may fail. [default: 0]")
@click.option("--control-plane", is_flag=True, help="First of all the control plane itself.")
@click.option("--wait", is_flag=True, help="Follow it; the exit code tells how it ended.")
@options.server
@options.token
@options.as_json
def start(
    release: str,
    nodes: str | None,
    everyone: bool,
    label: tuple[str, ...],
    waves: str | None,
    health: str | None,
    within: str | None,
    drain: str | None,
    control_plane: bool,
    wait: bool,
    server: str | None,
    token: Path | None,
    as_json: bool,
    **numbers: int | None,
) -> None:
    """Put a release onto nodes: the canary, then wave by wave.

    A node that does not come up, or is not well, has all of them go back. Prints the rollout's id.

    \b
    Example:
      modeldist rollout start registry.example/ops/modeldist:0.2.0 --all --canary 2 --waves 25,100 --wait
    """
    import asyncio

    how: dict[str, Any] = {name: number for name, number in numbers.items() if number is not None}
    for name, text in (("health", health), ("within", within), ("drain", drain)):
        if text is not None:
            how[name] = units.parse_duration(text)
    if waves is not None:
        how["waves"] = _percentages(waves)
    if control_plane:
        how["control_plane"] = True
    chosen = _choose(nodes, everyone, label)

    names: dict[str, str] = {}

    async def run() -> RolloutView:
        async with client(server, token) as plane:
            begun = await plane.create_rollout(release, chosen, **how)
            return await _follow(plane, begun.id, names, quiet=as_json) if wait else begun

    ended = asyncio.run(run())
    _tell_end(ended, names, as_json=as_json, wait=wait)


@rollout.command(cls=Command)
@click.argument("which", metavar="[ID]", required=False)
@click.option("--wait", is_flag=True, help="Follow it; the exit code tells how it ended.")
@options.server
@options.token
@options.as_json
def status(which: str | None, wait: bool, server: str | None, token: Path | None, as_json: bool) -> None:
    """Show a rollout, the newest one without an ID.

    \b
    Example:
      modeldist rollout status
    """
    import asyncio

    names: dict[str, str] = {}

    async def run() -> RolloutView:
        async with client(server, token) as plane:
            found = await _named(plane, which)
            shown = await _follow(plane, found, names, quiet=as_json) if wait else await plane.get_rollout(found)
            names.update({node.node: node.name async for node in plane.nodes()})
            return shown

    shown = asyncio.run(run())
    if wait or as_json:
        _tell_end(shown, names, as_json=as_json, wait=wait)
        return
    put(clean(f"{shown.id}  {shown.release}  {shown.version or '?'}  {shown.state}  {shown.reason}".rstrip()))
    rows = [
        (_name(one, names), one.state, one.step, one.before, one.version, one.error.message if one.error else "")
        for one in shown.nodes
    ]
    put_table(("NODE", "STATE", "STEP", "BEFORE", "NOW", "WHY"), rows)


@rollout.command(cls=Command)
@click.argument("which", metavar="[ID]", required=False)
@options.server
@options.token
@options.as_json
def abort(which: str | None, server: str | None, token: Path | None, as_json: bool) -> None:
    """Stop a rollout, the newest one without an ID.

    Nodes go back to what they ran before.

    \b
    Example:
      modeldist rollout abort
    """
    import asyncio

    async def run() -> RolloutView:
        async with client(server, token) as plane:
            return await plane.abort_rollout(await _named(plane, which))

    aborted = asyncio.run(run())
    if as_json:
        put_json(aborted)
    else:
        put(aborted.id)


async def _named(plane: AsyncClient, which: str | None) -> str:
    """Raises NotFound."""
    if which:
        return which
    if not (page := await plane.list_rollouts(limit=1)).rollouts:
        raise NotFound("There is no rollout.", remedy="`modeldist rollout start` makes one.")
    return page.rollouts[0].id


async def _follow(plane: AsyncClient, which: str, names: dict[str, str], *, quiet: bool) -> RolloutView:
    """Until it ends; also over a restart of the control plane. `names` of nodes are put in."""
    import asyncio

    from modeldist.errors import ControlPlaneUnreachable

    shown: dict[str, str] = {}
    lost = 0
    while True:
        try:
            found = await plane.get_rollout(which)
            if not names:
                names.update({node.node: node.name async for node in plane.nodes()})
            lost = 0
        except ControlPlaneUnreachable:
            lost += 1
            if lost > 120:  # it may be restarting, with its own new version
                raise
            await asyncio.sleep(LOOK)
            continue
        for one in found.nodes:
            now = one.state if one.step in ("", one.state) else f"{one.state} {one.step}"
            if shown.get(one.node) != now and one.state != "waiting":
                shown[one.node] = now
                if not quiet:
                    said = f": {one.error.message}" if one.error else ""
                    say(clean(f"{_name(one, names)}: {now}, {one.version}{said}"))
        if found.state in ENDED:
            return found
        await asyncio.sleep(LOOK)


def _tell_end(shown: RolloutView, names: Mapping[str, str], *, as_json: bool, wait: bool) -> None:
    if as_json:
        put_json(shown)
    if wait and (error := failure_of(shown, names)) is not None:
        fail(error, as_json=False)
    if as_json:
        return
    if wait:
        done = shown.states.get("done", 0)
        put(clean(f"{shown.version or 'It'} runs on {units.counted(done, 'machine')}."))
        for sentence in left_out(shown, names):
            say(clean(f"modeldist: {sentence}"))
    else:
        put(shown.id)


def failure_of(shown: RolloutView, names: Mapping[str, str]) -> AgentError | None:
    """Why a rollout that ended did not put the release anywhere, or not where it should."""
    if shown.state != "done":
        return AgentError(f"The rollout {shown.id} {_how(shown)}.")
    if shown.nodes and not shown.states.get("done"):
        why = " ".join(left_out(shown, names))
        return AgentError(f"The rollout {shown.id} updated no node. {why}", remedy="See docs/upgrade.md, “Once”.")
    return None


def left_out(shown: RolloutView, names: Mapping[str, str]) -> list[str]:
    """A sentence for each reason, with the nodes that gave it."""
    nodes: dict[str, list[str]] = {}
    for one in shown.nodes:
        if one.state == "refused" and one.error:
            nodes.setdefault(one.error.message, []).append(_name(one, names))
    return [f"{_some(refusing)} left out: {message}" for message, refusing in nodes.items()]


def _some(nodes: list[str]) -> str:
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return f"{', '.join(nodes[:_NAMED])}{more} {'was' if len(nodes) == 1 else 'were'}"


def _how(shown: RolloutView) -> str:
    return f"{shown.state}: {shown.reason}".rstrip(".") if shown.reason else shown.state


def _name(one: NodeUpdateView, names: Mapping[str, str]) -> str:
    return names.get(one.node) or one.node or "control plane"


def _choose(nodes: str | None, everyone: bool, label: tuple[str, ...]) -> Nodes:
    if sum((bool(nodes), everyone, bool(label))) != 1:
        raise UsageError("Which nodes?", remedy="Give one of --nodes, --all, --label.")
    if nodes:
        return [name.strip() for name in nodes.split(",") if name.strip()]
    return "all" if everyone else {"labels": key_values(label, "--label")}


def _percentages(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{text!r} are no percentages.", remedy="Write --waves 10,50,100.") from None
