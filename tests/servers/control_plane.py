"""A real control plane on loopback: real server, real store, any origin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from modeldist.client import AsyncClient
from modeldist.control.app import app_of
from modeldist.control.plane import ControlPlane, running
from modeldist.control.ports import Resolves, SchedulerWithViews
from modeldist.control.server import ControlServer, listen
from modeldist.control.settings import ServerSettings
from modeldist.control.standing import Alone


@dataclass(frozen=True)
class ServedControlPlane:
    """`url` is the HTTP base, `ws` the session's URL; the tokens are those of its first start."""

    url: str
    plane: ControlPlane
    state_dir: Path

    @property
    def ws(self) -> str:
        return self.url.replace("http", "ws", 1) + "/session"

    @property
    def admin_token(self) -> str:
        return (self.state_dir / "admin.token").read_text().strip()

    @property
    def agent_token(self) -> str:
        return (self.state_dir / "agent.token").read_text().strip()

    async def read_token(self) -> str:
        return await self.plane.tokens.create("reader", "read")

    def client(self, token: str | None = None) -> AsyncClient:
        return AsyncClient(self.url, token or self.admin_token)


@asynccontextmanager
async def served_control_plane(
    state_dir: Path,
    origins: Resolves,
    database_url: str = "",
    *,
    now: Callable[[], float] = time.time,
    scheduler: SchedulerWithViews | None = None,
    **settings: object,
) -> AsyncIterator[ServedControlPlane]:
    """Serves on an ephemeral port until the end of the block; stops as gracefully as `serve` does. `now`: what it
    takes for the time, in seconds since the epoch. `scheduler`: another than by its settings."""
    settings.setdefault("failed_logins", 1_000_000)  # tests fail a lot
    settings.setdefault("webhook_hosts", ("127.0.0.1",))  # receivers of tests
    given = ServerSettings.load(state_dir=state_dir, database_url=database_url, port=0, **settings)
    async with running(given, origins=origins, now=now, scheduler=scheduler) as plane:
        listening = listen(given)
        with listening:
            server = ControlServer(app_of(plane), given, Alone(plane))
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                yield ServedControlPlane(f"http://127.0.0.1:{listening.getsockname()[1]}", plane, state_dir)
            finally:
                server.should_exit = True
                await serving
