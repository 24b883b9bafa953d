"""One burst from start to end: a server, its nodes, what they pull by themselves, what is asked over REST."""

from __future__ import annotations

import asyncio
import random
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

from websockets.uri import parse_uri

from modeldist.bench.burst.agent import BurstAgent, Seen
from modeldist.bench.burst.asking import Asked, ask
from modeldist.bench.burst.plan import BurstPlan
from modeldist.bench.burst.result import BurstResult, OfOnePriority
from modeldist.control.load.descriptors import allow_descriptors
from modeldist.control.load.light_socket import LightSocket
from modeldist.control.load.result import Latency
from modeldist.control.load.server_process import ServerProcess, server_process
from modeldist.control.server import stored_tokens
from modeldist.control.settings import ServerSettings
from modeldist.errors import ControlPlaneUnreachable
from modeldist.session.messages import PATH

JOIN_WITHIN = 120.0  # seconds
SETTLE = 2.0  # seconds, before memory is looked at
AT_ONCE = 16  # connections opened per turn of the loop

_ORDER: tuple[Literal["serving", "prefetch"], ...] = ("prefetch", "serving")


async def measure(plan: BurstPlan) -> BurstResult:
    """Raises UsageError (file descriptors), ControlPlaneUnreachable (the server did not start, nodes cannot join)."""
    allow_descriptors(4 * plan.pulls)
    settings = {"most_running_pulls": str(plan.ceiling), "most_resolving": str(plan.resolving)}
    with _registry() as host, tempfile.TemporaryDirectory(prefix="modeldist-burst-") as state:
        settings["plain_http_registries"] = host
        async with server_process(Path(state), None, settings) as server:
            tokens = await _tokens(Path(state), plan.tokens)
            return await _measure(plan, server, host, tokens)


@contextmanager
def _registry() -> Iterator[str]:
    command = [sys.executable, "-m", "modeldist.bench.burst.registry"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


async def _tokens(state: Path, number: int) -> list[str]:
    """As many teams ask, each with a token of its own."""
    async with stored_tokens(ServerSettings.load(state_dir=state)) as tokens:
        return [await tokens.create(f"team {team}", "admin") for team in range(number)]


async def _measure(plan: BurstPlan, server: ServerProcess, host: str, tokens: list[str]) -> BurstResult:
    loop, rng, seen = asyncio.get_running_loop(), random.Random(plan.seed), Seen()
    await asyncio.sleep(SETTLE)
    empty, cpu = server.rss(), server.cpu()
    references = [f"{host}/bench/model-{number}:v1" for number in range(plan.models)]
    async with _nodes(plan, server, seen, rng) as nodes:
        connected = server.rss()
        began = loop.time()
        own = await _by_themselves(nodes, references, rng)
        own_seconds, began = loop.time() - began, loop.time()
        asked = await _over_rest(plan, server, tokens, nodes, references, rng)
        seconds = loop.time() - began
        await asyncio.sleep(SETTLE)
        failed = seen.failed + asked["serving"].failed + asked["prefetch"].failed
        return BurstResult(
            asked=plan.pulls,
            answers=Latency.of(asked["serving"].answers + asked["prefetch"].answers),
            by_priority={name: OfOnePriority.of(some) for name, some in asked.items()},
            seconds=seconds,
            nodes=len(nodes),
            sessions_seconds=own_seconds,
            sessions_completed=Latency.of(own),
            sessions_refused=dict(seen.refused),
            failed=dict(failed),
            complaints=dict(server.complaints),
            empty=empty,
            connected=connected,
            peak=server.peak(),
            after=server.rss(),
            server_cpu=server.cpu() - cpu,
        )


@asynccontextmanager
async def _nodes(
    plan: BurstPlan, server: ServerProcess, seen: Seen, rng: random.Random
) -> AsyncIterator[list[BurstAgent]]:
    """A node for each pull, all connected."""
    uri = parse_uri(f"ws{server.url.removeprefix('http')}{PATH}")
    loop = asyncio.get_running_loop()
    nodes = [BurstAgent(number, plan.seconds, plan.patience, seen, rng) for number in range(plan.pulls)]
    for start in range(0, len(nodes), AT_ONCE):
        for node in nodes[start : start + AT_ONCE]:
            socket = node.socket = LightSocket(uri, server.token, node)
            await loop.create_connection(lambda socket=socket: socket, uri.host, uri.port)  # type: ignore[misc]
        await asyncio.sleep(0)
    try:
        async with asyncio.timeout(JOIN_WITHIN):
            await asyncio.gather(*(node.welcomed for node in nodes))
    except TimeoutError as error:
        raise ControlPlaneUnreachable(f"{seen.joined} of {len(nodes)} nodes joined: {dict(seen.failed)}.") from error
    try:
        yield nodes
    finally:
        for node in nodes:
            if node.socket is not None:
                node.socket.close()


async def _by_themselves(nodes: list[BurstAgent], references: list[str], rng: random.Random) -> list[float]:
    """Every node pulls something at the same moment; seconds until each had it."""
    loop = asyncio.get_running_loop()
    began, took = loop.time(), []

    async def one(node: BurstAgent) -> None:
        if await node.pull(rng.choice(references)):
            took.append(loop.time() - began)

    await asyncio.gather(*(one(node) for node in nodes))
    return took


async def _over_rest(
    plan: BurstPlan,
    server: ServerProcess,
    tokens: list[str],
    nodes: list[BurstAgent],
    references: list[str],
    rng: random.Random,
) -> dict[str, Asked]:
    asked: dict[str, Asked] = {name: Asked() for name in _ORDER}
    tls = ssl.create_default_context()  # one for all: they speak plain HTTP
    await asyncio.gather(
        *(
            ask(
                server.url,
                tokens[number % len(tokens)],
                tls,
                rng.choice(references),
                node.node,
                (name := _ORDER[number // len(tokens) % 2]),
                plan.patience,
                asked[name],
            )
            for number, node in enumerate(nodes)
        )
    )
    return asked
