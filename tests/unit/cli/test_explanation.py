from __future__ import annotations

from modeldist.agent.progress import ParentShare
from modeldist.cli.explanation import explain, explain_everywhere
from modeldist.control.views import BytesView, PullView, SelectorView, WhyNodeView, WhyView
from modeldist.errors import NotFound
from modeldist.explain import Where
from tests.unit.cli.pulls import GB, pull, shard


def test_everything_that_is_known_is_said() -> None:
    now = pull(
        shard("config.json", 600, local=600),
        shard("model.safetensors", 10 * GB, origin=GB, peers=3 * GB),
        resolved="registry.example/org/model@sha256:12",
        parents=(ParentShare("node-a", GB), ParentShare("node-b", 2 * GB)),
        notes=("node-c stopped serving.",),
        where=Where(
            waits={"origin": 9.0, "parent:node-a": 1.0},
            lately={"origin": 9.0, "parent:node-a": 1.0},
            window=10.0,
            rates={"origin": 100e6},
            since=7.0,
            origin="registry.example",
        ),
        warnings=("modeling.py is code.",),
    )
    text = "\n".join(explain(now))
    for part in (
        "Pull 0123456789ab of org/model:v1: pulling, 10 s",
        "means     registry.example/org/model@sha256:12",
        "bytes     4.00 GB of 10.0 GB, 1 of 2 files complete",
        "origin    1.00 GB (100 MB/s)",
        "peers     3.00 GB (300 MB/s)",
        "here      600 B",
        "parent    node-b: 2.00 GB, 67% of the peers' bytes",
        "warning   modeling.py is code.",
        "note      node-c stopped serving.",
        "because   The origin holds it up: registry.example gives too little.",
        "measured  registry.example gives this node 100 MB/s, since 7.0 s.",
        "remedy    Look at the origin",
    ):
        assert part in text


def test_whoever_is_slow_is_told_with_his_address() -> None:
    node = "6f1c2d3e4b5a69788796a5b4c3d2e1f0"
    waits = {f"parent:{node}": 9.0}
    where = Where(waits=waits, lately=waits, window=10.0, rates={node: 1e6}, since=7.0)
    told = explain(pull(shard("a", GB, peers=GB // 2), where=where, addresses={node: "10.0.0.5:7421"}))
    because = next(line for line in told if line.startswith("  because"))
    assert "Node 6f1c2d3e4b5a at 10.0.0.5:7421 holds it up" in because


def test_a_failure_comes_with_its_remedy() -> None:
    error = NotFound("registry.example has no org/model:v1.", remedy="Check the tag.").info()
    text = "\n".join(explain(pull(state="failed", error=error)))
    assert text.count("registry.example has no") == 1
    assert "error     registry.example has no org/model:v1." in text
    assert "remedy    Check the tag." in text


def test_nodes_that_are_done_are_not_said_to_have_had_the_same_numbers() -> None:
    count = BytesView(total=20, origin=10, peers=10, local=0)
    ended = PullView(
        id="01a2",
        reference="org/model:v1",
        priority="prefetch",
        state="done",
        selector=SelectorView(everyone=True),
        created_at=0.0,
        finished_at=24.0,
        states={"done": 2},
        bytes=count,
    )
    whys = WhyView(
        "01a2",
        [
            WhyNodeView("6f1c", "fast", "done", None, "10 B came in 0.9 s.", ["So far 10 B."], None),
            WhyNodeView("7a2d", "slow", "done", None, "10 B came in 24 s.", ["So far 10 B."], None),
        ],
    )
    lines = explain_everywhere(ended, whys)
    told = lines[lines.index("done: fast, slow") :]
    assert "of fast" in told[1] and "--json" in told[1]
    assert "`modeldist why` on a node" in told[-1]
