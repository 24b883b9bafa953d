from __future__ import annotations

import pytest

from modeldist.agent.progress import ParentShare, PullSnapshot
from modeldist.cli.explanation import bottleneck, explain
from modeldist.errors import NotFound
from tests.unit.cli.pulls import GB, pull, shard


def test_everything_that_is_known_is_said() -> None:
    now = pull(
        shard("config.json", 600, local=600),
        shard("model.safetensors", 10 * GB, origin=GB, peers=3 * GB),
        resolved="registry.example/org/model@sha256:12",
        parents=(ParentShare("node-a", GB), ParentShare("node-b", 2 * GB)),
        notes=("node-c stopped serving.",),
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
        "The origin gives 25% and 2 nodes the rest, together 400 MB/s.",
    ):
        assert part in text


def test_a_failure_comes_with_its_remedy() -> None:
    error = NotFound("registry.example has no org/model:v1.", remedy="Check the tag.").info()
    text = "\n".join(explain(pull(state="failed", error=error)))
    assert "error     registry.example has no org/model:v1." in text
    assert "remedy    Check the tag." in text


PART = shard("a", 10 * GB, origin=4 * GB)
SERVED = shard("a", 10 * GB, peers=4 * GB)


@pytest.mark.parametrize(
    ("now", "per_second", "words"),
    [
        (pull(state="resolving"), None, "waits for the origin"),
        (pull(PART, state="waiting"), None, "another process"),
        (pull(PART, state="materialising"), None, "put in place"),
        (pull(PART), 5e8, "read from the origin, at 500 MB/s"),
        (pull(PART), None, "read from the origin, at 400 MB/s"),
        (pull(SERVED, parents=(ParentShare("node-a", 4 * GB),)), 1e9, "comes from node node-a, at 1.00 GB/s"),
        (pull(SERVED), 1e9, "comes from other nodes"),
        (pull(PART, notes=("It broke.",)), 0.0, "Nothing arrives at the moment. The last thing noted: It broke."),
        (pull(shard("a", 10)), None, "No byte has arrived yet"),
        (pull(shard("a", 10), seconds=0.5), 0.0, ""),
        (pull(shard("a", GB, origin=GB), state="done"), None, "It came from the origin at 100 MB/s on average."),
        (pull(shard("a", GB, local=GB), state="done"), None, "nothing was fetched"),
        (pull(state="cancelled"), None, ""),
        (
            pull(shard("a", 2 * GB, origin=GB, peers=GB), state="done", parents=(ParentShare("b", GB),)),
            None,
            "the origin and node b",
        ),
    ],
)
def test_the_bottleneck_in_one_sentence(now: PullSnapshot, per_second: float | None, words: str) -> None:
    sentence = bottleneck(now, per_second)
    assert words in sentence
    assert bool(sentence) == bool(words)
