"""A control plane's own database, for commands of whoever may read it, beside a control plane or without one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from modeldist.cli.options import PATH, Decorator, Function

if TYPE_CHECKING:
    from modeldist.control.store.database import Database

T = TypeVar("T")

_STATE_DIR: Decorator = click.option(
    "--state-dir", type=PATH, metavar="DIR", help="The control plane's. [default: ~/.local/state/modeldist]"
)
_DATABASE_URL: Decorator = click.option(
    "--database-url",
    metavar="URL",
    help="Another database. [env: MODELDIST_SERVER_DATABASE_URL, which nobody else sees]",
)


@dataclass(frozen=True)
class Stored:
    """Where it is: in a state directory or at an URL; None: as the server itself would have it."""

    state_dir: Path | None
    database_url: str | None

    def run(self, do: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
        """What `do` returns. Raises UsageError, StorageError."""
        import asyncio

        from modeldist.control.server import stored_database
        from modeldist.control.settings import ServerSettings

        async def opened() -> T:
            settings = ServerSettings.load(state_dir=self.state_dir, database_url=self.database_url)
            async with stored_database(settings) as database:
                return await do(database)

        return asyncio.run(opened())


def stored_options(function: Function) -> Function:
    """The options that say where it is; the command gets `stored`."""

    @wraps(function)
    def command(state_dir: Path | None, database_url: str | None, **given: Any) -> Any:
        return function(stored=Stored(state_dir, database_url), **given)

    return _STATE_DIR(_DATABASE_URL(command))
