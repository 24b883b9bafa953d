"""Why pulls are slow, over REST: what agents said of their time, and what the control plane knows beside it."""

from __future__ import annotations

import math

import pytest

from modeldist.client import AsyncClient
from modeldist.control.views import WhyNodeView
from modeldist.errors import AccessDenied, NotFound
from modeldist.explain import Around, Uploads, Where
from modeldist.scheduler.messages import Load, Report
from modeldist.session.messages import PullProgress, StartPull
from tests.servers.control_plane import ServedControlPlane
from tests.servers.followed_pulls import reached
from tests.servers.scripted_agent import ScriptedAgent, scripted_agent

REFERENCE = "memory://org/model:v1"


def where(wait: str, **more: object) -> Where:
    return Where(waits={wait: 9.0}, lately={wait: 9.0}, window=10.0, since=9.0, origin="hub.example", **more)  # type: ignore[arg-type]


async def says(agent: ScriptedAgent, wait: Where) -> str:
    asked = await agent.expect(StartPull)
    progress = PullProgress(asked.pull, "pulling", bytes_total=100, bytes_origin=7, seconds=20.0, where=wait)
    await agent.send(progress)
    return asked.pull


async def whys(client: AsyncClient, pull: str) -> dict[str, WhyNodeView]:
    found = await client.why_pull(pull)
    assert found.pull == pull
    return {node.node: node for node in found.nodes}


async def test_each_node_says_what_it_waits_for(control: ServedControlPlane) -> None:
    async with (
        control.client() as client,
        scripted_agent(control.ws, control.agent_token, "a", name="alpha") as a,
        scripted_agent(control.ws, control.agent_token, "b", name="beta") as b,
        scripted_agent(control.ws, control.agent_token, "c", name="gamma") as c,
        scripted_agent(control.ws, control.agent_token, "d") as d,
    ):
        made = await client.create_pull(REFERENCE, ["a", "b", "c", "d"])
        await says(a, where("origin", rates={"origin": 1e6}))
        await says(b, where("pieces"))
        await a.send(Report(1, Load(uploads=Uploads(5e6, 0.97))))
        await says(c, where("parent:a", rates={"a": 5e6}))
        denied = AccessDenied("hub.example refused the token.", remedy="Log in again.").info()
        failed = await d.expect(StartPull)
        await d.send(PullProgress(failed.pull, "failed", bytes_total=100, bytes_origin=9, error=denied))
        await reached(client, made.id, {"pulling": 3, "failed": 1})
        found = await whys(client, made.id)
    assert [found[node].bottleneck for node in "abcd"] == ["origin", "origin", "upload_limit", "credentials"]
    assert (found["a"].name, found["a"].state) == ("alpha", "pulling")
    assert "hub.example" in found["a"].summary
    assert found["b"].summary.startswith("Upstream of it")
    assert "alpha" in found["c"].summary
    assert "--upload-rate" in (found["c"].remedy or "")
    assert (found["d"].summary, found["d"].remedy) == ("hub.example refused the token.", "Log in again.")


async def test_a_node_that_is_away(control: ServedControlPlane) -> None:
    async with control.client() as client:
        async with scripted_agent(control.ws, control.agent_token, "a") as a:
            made = await client.create_pull(REFERENCE, ["a"])
            assert (await whys(client, made.id))["a"].bottleneck is None
            await says(a, where("disk"))
            await reached(client, made.id, {"pulling": 1})
            assert (await whys(client, made.id))["a"].bottleneck == "disk"
        while (found := (await whys(client, made.id))["a"]).bottleneck != "agent_away":
            assert found.bottleneck == "disk"
        with pytest.raises(NotFound):
            await client.why_pull("nobody-knows")


async def test_what_an_agent_says_is_bounded(control: ServedControlPlane) -> None:
    wrong = (
        where("origin", rates={str(number): 1.0 for number in range(1000)}),
        where("o" * 100_000),
        where("origin", still=math.nan),
        where("origin", still=1e300),
        where("origin", around=Around(link=math.inf)),
    )
    async with control.client() as client, scripted_agent(control.ws, control.agent_token, "a") as a:
        for each in wrong:
            made = await client.create_pull(REFERENCE, ["a"])
            await says(a, each)
            await reached(client, made.id, {"pulling": 1})
            found = (await whys(client, made.id))["a"]
            assert (found.bottleneck, found.state) == (None, "pulling")


async def test_what_a_later_agent_waits_for_spoils_nobodys_answer(control: ServedControlPlane) -> None:
    async with (
        control.client() as client,
        scripted_agent(control.ws, control.agent_token, "a") as a,
        scripted_agent(control.ws, control.agent_token, "b") as b,
    ):
        made = await client.create_pull(REFERENCE, ["a", "b"])
        await says(a, where("something new"))
        await says(b, where("disk"))
        await reached(client, made.id, {"pulling": 2})
        found = await whys(client, made.id)
        assert (found["a"].bottleneck, found["b"].bottleneck) == (None, "disk")
        assert "something new" not in str(found["a"])
