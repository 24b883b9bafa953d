"""Why pulls are slow, over REST: what agents said of their time, and what the control plane knows beside it."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modeldist.client import AsyncClient
from modeldist.control.views import WhyNodeView
from modeldist.errors import AccessDenied, NotEnoughSpace, NotFound, Unsupported, Untrusted, UsageError
from modeldist.explain import Around, Uploads, Where
from modeldist.scheduler.messages import Load, Report
from modeldist.session.messages import PullProgress, StartPull
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.followed_pulls import ended, reached
from tests.servers.memory_origin import MemoryOrigin
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


async def test_nodes_that_cannot_have_it(control: ServedControlPlane) -> None:
    kinds = {"not_found": NotFound, "trust": Untrusted, "unsupported": Unsupported, "request": UsageError}
    async with control.client() as client, scripted_agent(control.ws, control.agent_token, "a") as a:
        for bottleneck, kind in kinds.items():
            made = await client.create_pull(REFERENCE, ["a"])
            await a.expect(StartPull)
            await a.send(PullProgress(made.id, "failed", error=kind("It cannot be.").info()))
            await ended(client, made.id)
            found = (await whys(client, made.id))["a"]
            assert (found.bottleneck, found.summary) == (bottleneck, "It cannot be.")
            assert kind.code in found.evidence[0]
            assert found.remedy


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


async def test_what_held_up_a_pull_that_is_done(control: ServedControlPlane) -> None:
    """Asked when it has been written, and nothing but the database has the pull itself."""
    async with (
        control.client() as client,
        scripted_agent(control.ws, control.agent_token, "a") as a,
        scripted_agent(control.ws, control.agent_token, "b") as b,
    ):
        made = await client.create_pull(REFERENCE, ["a", "b"])
        await says(a, where("disk"))
        slow = PullProgress(made.id, "done", bytes_total=10**9, bytes_origin=10**9, seconds=60.0, where=where("disk"))
        await a.send(slow)
        await b.expect(StartPull)
        await b.send(PullProgress(made.id, "done", bytes_total=10**9, bytes_peers=10**9, seconds=0.1))
        await ended(client, made.id)
        await control.plane.book.close()  # written
        found = await whys(client, made.id)
        assert (found["a"].bottleneck, found["b"].bottleneck) == ("disk", None)
        assert "1.00 GB came from the origin in 1 min 0 s" in found["a"].summary
        assert found["a"].evidence[0] == "Of its time: 100% waiting for this node's disk."
        assert found["a"].remedy


async def test_pulls_that_ended_are_explained_as_long_as_they_are_kept(
    tmp_path: Path, origin: MemoryOrigin, database_url: str
) -> None:
    """Also after a restart of the control plane, of which the database is left."""
    ahead = [0.0]
    state = tmp_path / "state"
    async with (
        served_control_plane(state, origin, database_url, now=lambda: time.time() + ahead[0]) as control,
        control.client() as client,
        scripted_agent(control.ws, control.agent_token, "a") as a,
        scripted_agent(control.ws, control.agent_token, "b") as b,
        scripted_agent(control.ws, control.agent_token, "c") as c,
    ):
        failed = await client.create_pull(REFERENCE, ["a", "b", "c"])
        full = NotEnoughSpace("The disk of a is full.", remedy="Free some.").info()
        await a.expect(StartPull)
        await a.send(PullProgress(failed.id, "failed", bytes_total=100, bytes_peers=9, error=full))
        await b.expect(StartPull)
        await b.send(PullProgress(failed.id, "failed"))
        await c.expect(StartPull)
        await c.send(PullProgress(failed.id, "done", bytes_total=100, bytes_origin=100, seconds=2.0))
        assert (await ended(client, failed.id)).state == "failed"
        late = await client.create_pull(
            REFERENCE, ["a", "b", "c"], deadline=datetime.fromtimestamp(time.time() + 500, UTC)
        )
        await says(a, where("origin", rates={"origin": 1e6}))
        await says(b, where("disk"))
        await c.expect(StartPull)
        await reached(client, late.id, {"pulling": 2, "waiting": 1})
        ahead[0] = 501.0
        assert (await ended(client, late.id)).state == "failed"
        stopped = await client.create_pull(REFERENCE, ["a"])
        await client.cancel_pull(stopped.id)
    async with served_control_plane(state, origin, database_url) as control, control.client() as client:
        about = await client.why_pull(failed.id)
        assert (about.state, about.summary) == ("failed", "It failed: of 3 nodes 1 done, 2 failed.")
        found = {node.node: node for node in about.nodes}
        assert (found["a"].bottleneck, found["a"].summary) == ("disk_full", "The disk of a is full.")
        assert (found["a"].remedy, found["a"].evidence[1]) == (
            "Free some.",
            "9 B of 100 B were here by then, and stay.",
        )
        assert (found["b"].bottleneck, found["b"].summary) == ("other", "It failed, and its agent did not say why.")
        assert found["b"].evidence and "Pull again" in (found["b"].remedy or "")
        assert found["c"].summary.startswith("It is done: 100 B came from the origin")
        found = await whys(client, late.id)
        assert {found[node].bottleneck for node in "abc"} == {"deadline"}
        ends = {node: found[node].summary.partition("by the deadline of its pull")[2] for node in "abc"}
        assert ends == {
            "a": ": the origin held it up.",
            "b": ": the node's disk held it up.",
            "c": ": the node had not begun.",
        }
        assert "`modeldist doctor`" in (found["b"].remedy or "") and "later deadline" in (found["c"].remedy or "")
        about = await client.why_pull(stopped.id)
        assert (about.summary, about.nodes[0].summary) == ("It was cancelled: of 1 node 0 done.", "It was stopped.")
