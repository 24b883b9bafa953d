"""Explore the API for long: `python -m tests.openapi --seconds N`; exit status 0 when nothing was found.

On SQLite and on PostgreSQL where there is one, half of the time each. What differs from the document, and how to ask
for it again, is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
from pathlib import Path

from tests.openapi.inhabited import inhabited_control_plane
from tests.openapi.schemathesis_run import schemathesis
from tests.servers.postgres_cluster import postgres_binaries, postgres_cluster


async def explore(room: Path, database_url: str, seconds: int, seed: int) -> int:
    """The exit status. Examples, edges and sequences of `run`, again with other values until the time is over."""
    async with inhabited_control_plane(room / "state", database_url) as control:
        status, printed = await schemathesis(
            control, room, "run", "--max-time", str(seconds), "--seed", str(seed), "--continue-on-failure"
        )
    print(printed)
    return status


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.openapi", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="how long (600)")
    parser.add_argument("--seed", type=int, default=None, help="of the random choices (another one each time)")
    given = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if given.seed is None else given.seed
    binaries = postgres_binaries()
    each = max(given.seconds // (2 if binaries else 1), 1)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        status = asyncio.run(explore(Path(first), "", each, seed))
        if binaries is not None:
            with postgres_cluster(binaries) as cluster:
                status = asyncio.run(explore(Path(second), cluster.new_database(), each, seed)) or status
    return status


if __name__ == "__main__":
    raise SystemExit(main())
