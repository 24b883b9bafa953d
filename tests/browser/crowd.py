"""`python -m tests.browser.crowd URL TOKEN AGENTS`: so many synthetic agents of one swarm, until it is stopped.

They are those of the load generator: real sessions, no bytes.
"""

from __future__ import annotations

import asyncio
import sys

from modeldist.control.load.descriptors import allow_descriptors
from modeldist.control.load.fleet import Fleet
from modeldist.control.load.plan import LoadPlan
from modeldist.session.messages import PATH


async def crowd(url: str, token: str, agents: int) -> None:
    allow_descriptors(agents)
    plan = LoadPlan(agents=agents, swarm=agents, interval=2.0, pull_seconds=120.0, racks_per_zone=8)
    fleet = Fleet(plan, f"ws{url.removeprefix('http')}{PATH}", token)
    await fleet.connect(fleet.agents, 120.0)
    print("joined", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(crowd(sys.argv[1], sys.argv[2], int(sys.argv[3])))
