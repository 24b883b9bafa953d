from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from modeldist.cli.top import local
from modeldist.cli.top.cluster import feeds
from modeldist.cli.top.picture import FeedRow, NodeRow, Picture, PullRow, lines
from modeldist.control.views import MemberView, TaskView
from modeldist.explain import Where
from tests.unit.cli.pulls import GB, pull, shard

ABOUT: dict[str, Any] = {"name": "node-1", "node": "6f1c", "connected": True, "control_error": "", "bytes_sent": 0}


def test_a_picture_in_lines() -> None:
    picture = Picture(
        title="Control plane c1, 2 agents, 1 pull running",
        received=2e6,
        sent=1e6,
        pulls=(
            PullRow(
                pull="01a2",
                reference="org/model:v1\x1b[2J",
                state="2 pulling",
                size=GB,
                done=GB // 4,
                origin=1e6,
                peers=0.0,
                nodes=2,
                bottleneck="origin",
            ),
        ),
        nodes=(NodeRow(node="6f1c", name="node-1", received=2e6, sent=None, children=3, tasks=1),),
        feeds=(FeedRow(node="node-1", parents=tuple((f"p{number}", 1e6) for number in range(6))),),
    )
    text = lines(picture)
    assert text[:2] == ["Control plane c1, 2 agents, 1 pull running", "  receives 2.00 MB/s, sends 1.00 MB/s"]
    row = next(line for line in text if line.startswith("01a2"))
    assert row.split()[-4:] == ["25%", "1.00", "MB/s", "origin"]
    assert "\x1b" not in "".join(text)
    assert any("p3 1.00 MB/s and 2 more" in line for line in text)


def test_nothing_runs() -> None:
    assert lines(local.picture(ABOUT, [], 0.0))[-1] == "No pull runs."
    seen = lines(Picture(title="Control plane c1", nodes=(NodeRow(node="6f1c", name="node-1", tasks=1),)))
    assert seen[-1] == "No pull runs that the control plane started; `modeldist top` on a node has its own."


def test_an_agent() -> None:
    where = Where(lately={"origin": 9.0}, waits={"origin": 9.0}, window=9.0, rates={"origin": 1e6, "parent-a": 3e6})
    running = pull(shard("a", GB, origin=GB // 10), where=where)
    ended = pull(shard("b", GB, origin=GB), state="done")
    about = ABOUT | {
        "connected": False,
        "control_error": "refused",
        "uploads": {"limit": 5e6, "limited": 0.9},
        "around": {"disk": 0.5},
    }
    picture = local.picture(about, [ended, running], 7.0)
    assert [row.bottleneck for row in picture.pulls] == ["origin"]
    assert (picture.received, picture.sent) == (4e6, 7.0)
    assert picture.feeds[0].parents == (("parent-a", 3e6), ("origin", 1e6))
    known = local.picture(about, [replace(running, addresses={"parent-a": "10.0.0.5:7421"})], 7.0)
    assert known.feeds[0].parents[0] == ("10.0.0.5:7421", 3e6)
    told = " ".join(picture.notes)
    assert "refused" in told and "limit of 5.00 MB/s in 90%" in told and "disk 50%" in told


def test_who_feeds_whom() -> None:
    members = [
        MemberView("a", False, True, 1, 0, ["b", "c"], 0),
        MemberView("b", True, False, 2, 2, ["c"], 1),
    ]
    task = TaskView("sha256:1", 2, "o", 1, 2, 2, 1, 0, 2, 2, 1.0, members=members)
    assert feeds([task], {"a": "alpha", "b": "beta"}) == (FeedRow(node="alpha", parents=(("beta", None), ("c", None))),)
