"""`modeldist why`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.agent.progress import FINAL, PullSnapshot
from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.control_plane import server_url
from modeldist.cli.explanation import explain, explain_everywhere
from modeldist.cli.explanation import why as decide
from modeldist.cli.terminal import clean, put, put_json
from modeldist.errors import NotFound

if TYPE_CHECKING:
    from modeldist.agent.local_client import LocalAgent
    from modeldist.control.views import PullView, WhyView

NO_PULL = NotFound("No pull has run on this machine yet.", remedy="`modeldist pull REF` begins one.")


@click.command(cls=Command)
@click.argument("pull", metavar="[PULL|REF]", default="")
@options.as_json
@options.server
@options.token
@options.node_options("store", "socket")
def why(pull: str, as_json: bool, server: str | None, token: Path | None, here: Node) -> None:
    """Explain a slow, stuck or failed pull.

    What holds it up, what was measured, what to do.

    PULL is its id as `modeldist status` shows it, REF the reference as it was pulled, or the name of a model that
    programs read through the gateway. With --server, a pull that the control plane started (`modeldist preheat`), on
    every node; else the agent's, running or ended, or one of those that ended here without an agent. MODELDIST_SERVER
    is asked for what nobody here knows. Without either, the newest pull there: of those that run, if any do.

    \b
    Example:
      modeldist why
      modeldist why org/model:tag
    """
    if server is not None:
        _everywhere(pull, server, token, as_json=as_json)
        return
    try:
        now = _here(pull, here)
    except NotFound:
        if (server := server_url(None)) is None:
            raise
        _everywhere(pull, server, token, as_json=as_json)
        return
    if as_json:
        found = decide(now)
        put_json(
            {
                "pull": now,
                "bottleneck": found.bottleneck,
                "summary": found.summary,
                "evidence": found.evidence,
                "remedy": found.remedy,
                "bytes_per_second": now.where.rate if now.where else None,
            }
        )
    else:
        _print(explain(now))


def _everywhere(pull: str, server: str, token: Path | None, *, as_json: bool) -> None:
    found, whys = _of_control_plane(pull, server, token)
    if as_json:
        put_json({"pull": found, "nodes": whys.nodes})
    else:
        _print(explain_everywhere(found, whys))


def _here(pull: str, here: Node) -> PullSnapshot:
    agent = here.running_agent()
    if agent is not None:
        try:
            return agent.find_pull(pull) if pull else _newest(agent)
        except NotFound:
            if (past := _past(pull, here)) is None:
                raise
            return past
    if (past := _past(pull, here)) is None:
        if not pull:
            raise NO_PULL
        raise NotFound(
            f"No pull {pull!r} has ended in {here.store}, and no agent runs here that could know of one.",
            remedy="Name it as it was pulled; `modeldist pull --verbose` tells of a pull as it goes.",
        )
    return past


def _newest(agent: LocalAgent) -> PullSnapshot:
    """Raises NotFound."""
    if not (pulls := agent.pulls()):  # the oldest first
        raise NO_PULL
    running = [pull for pull in pulls if pull.state not in FINAL]
    return (running or pulls)[-1]


def _past(pull: str, here: Node) -> PullSnapshot | None:
    from modeldist.agent.past_pulls import PastPulls

    return PastPulls(here.store).find(pull)


def _of_control_plane(pull: str, server: str, token: Path | None) -> tuple[PullView, WhyView]:
    import asyncio

    from modeldist.cli import control_plane

    async def ask() -> tuple[PullView, WhyView]:
        async with control_plane.client(server, token, timeout=2 * control_plane.ITS_OWN) as control:
            async for each in control.pulls():  # newest first
                if each.id.startswith(pull) or each.reference == pull:  # any of them where none is named
                    return await control.get_pull(each.id), await control.why_pull(each.id)
            raise NotFound(
                f"The control plane knows no pull {pull!r}." if pull else "The control plane knows of no pull.",
                remedy="`modeldist status --server URL` lists those that run. One that began with `modeldist pull` "
                "is known to its node alone: ask there.",
            )

    return asyncio.run(ask())


def _print(lines: list[str]) -> None:
    for line in lines:
        put(clean(line))
