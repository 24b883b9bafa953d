from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from modeldist.errors import ErrorInfo, ModeldistError
from modeldist.explain import Around, Explanation, Facts, Uploads, Where, explain
from modeldist.explain.decision import Bottleneck

MB = 1e6
RUNNING = Facts(state="pulling", seconds=60.0, size=10**10, origin=10**9)


def looked(lately: dict[str, float], around: Around | None = None, **more: object) -> Where:
    given = {"waits": lately, "lately": lately, "window": 10.0, "since": 42.0, "origin": "registry.example", **more}
    return Where(around=around or Around(), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("where", "bottleneck", "words"),
    [
        (looked({"origin": 9.4, "disk": 0.6}, rates={"origin": 2 * MB}), "origin", "registry.example gives"),
        (looked({"origin": 10.0}, still=30.0), "origin", "Nothing has come for 30 s"),
        (
            looked({"origin_pause": 9.0, "origin": 1.0}, trouble="rate_limited: slower"),
            "origin_limit",
            "fewer requests",
        ),
        (looked({"origin_pause": 9.0}, trouble="origin_unavailable: 503"), "origin", "tried again"),
        (looked({"parent:a": 10.0}, rates={"a": MB}), "parent", "Node alpha holds it up"),
        (looked({"disk": 8.0, "origin": 2.0}, rates={"origin": MB}), "disk", "waits to be written"),
        (looked({"verify": 6.0, "origin": 4.0}, rates={"origin": MB}), "verification", "digests"),
        (
            looked({"download_limit": 9.0}, Around(download_limit=5 * MB), rates={"a": 5 * MB}),
            "download_limit",
            "download limit of 5.00 MB/s",
        ),
        (
            looked({"parent:a": 10.0}, Around(download_limit=5 * MB), rates={"a": 4.9 * MB}),
            "download_limit",
            "download limit of 5.00 MB/s",
        ),
        (looked({"origin": 5.0, "download_limit": 4.0}, rates={"origin": MB}), "download_limit", "limit"),
        (looked({"parent:a": 10.0}, Around(download_limit=5 * MB), rates={"a": MB}), "parent", "alpha"),
        (looked({"parent:a": 10.0}, Around(rdma="There is no device."), rates={"a": MB}), "rdma", "over TCP"),
        (looked({"control": 10.0}, Around(control="refused")), "control_plane", "refused"),
        (looked({"pieces": 10.0}), "upstream", "do not have yet"),
        (looked({"room": 10.0}), "queue", "no room"),
        (
            looked({"parent:a": 10.0}, Around(link=0.95, link_speed=125 * MB), rates={"a": 118 * MB}),
            "own_link",
            "95% of 125 MB/s",
        ),
        (looked({"origin": 4.0, "disk": 3.0, "verify": 3.0}, rates={"origin": MB}), None, "Nothing in particular"),
        (looked({"origin": 9.0}, rates={"origin": 900 * MB}), None, "Nothing is wrong"),
        (looked({"parent:a": 9.0}, rates={"a": 900 * MB}), None, "Nothing is wrong"),
        (Where(), None, "too short"),
    ],
)
def test_a_running_pull(where: Where, bottleneck: str | None, words: str) -> None:
    found = explain(replace(RUNNING, where=where, names={"a": "alpha"}))
    assert found.bottleneck == bottleneck
    assert words in " ".join((found.summary, *found.evidence))
    assert bool(found.remedy) == (bottleneck is not None)


def test_of_two_parents_the_slow_one() -> None:
    where = looked({"parent:a": 5.0, "parent:b": 5.0}, rates={"a": 50 * MB, "b": MB})
    found = explain(replace(RUNNING, where=where, names={"a": "alpha", "b": "beta"}))
    assert found.bottleneck == "parent"
    assert "beta" in found.summary
    assert "alpha" not in found.summary
    assert "The other parents give 50.0 MB/s" in " ".join(found.evidence)


def test_a_parent_that_keeps_to_its_upload_limit() -> None:
    where = looked({"parent:a": 10.0}, rates={"a": 5 * MB})
    facts = replace(RUNNING, where=where, names={"a": "alpha"}, uploads={"a": Uploads(5 * MB, 0.98)})
    found = explain(facts)
    assert found.bottleneck == "upload_limit"
    assert "5.00 MB/s" in found.summary
    assert "--upload-rate" in (found.remedy or "")
    assert explain(replace(facts, uploads={"a": Uploads(5 * MB, 0.1)})).bottleneck == "parent"


def test_what_is_upstream() -> None:
    above = Explanation("origin", "The origin holds it up.", (), "Look there.")
    found = explain(replace(RUNNING, where=looked({"pieces": 10.0}), upstream=above))
    assert (found.bottleneck, found.remedy) == ("origin", "Look there.")
    assert found.summary.startswith("Upstream of it")


@pytest.mark.parametrize(
    ("code", "bottleneck"),
    [
        ("unauthorized", "credentials"),
        ("access_denied", "credentials"),
        ("rate_limited", "origin_limit"),
        ("origin_unavailable", "origin"),
        ("not_enough_space", "disk_full"),
        ("storage", "disk"),
        ("control_unreachable", "control_plane"),
        ("overloaded", "queue"),
        ("integrity", "integrity"),
        ("from_the_future", "other"),
    ],
)
def test_a_failed_pull(code: str, bottleneck: str) -> None:
    found = explain(replace(RUNNING, state="failed", error=ErrorInfo(code, "It broke.", "Mend it.")))
    assert (found.bottleneck, found.summary, found.remedy) == (bottleneck, "It broke.", "Mend it.")
    assert "1.00 GB of 10.0 GB" in " ".join(found.evidence)


def test_credentials_that_were_valid() -> None:
    failed = replace(RUNNING, state="failed", error=ErrorInfo("unauthorized", "401"))
    assert any("are no more" in sentence for sentence in explain(failed).evidence)
    assert "login" in (explain(failed).remedy or "")
    never = replace(failed, origin=0)
    assert not any("are no more" in sentence for sentence in explain(never).evidence)


NO_PULL_FAILS_WITH = {
    "internal",  # the root, which nobody raises; of a later version's agent it is what is not known here
    "cancelled",  # such a pull was stopped, and has not failed
    "idempotency_key_reused",  # requests that begin no pull
    "not_enough_nodes",
    "pinned",
    "rollout_under_way",
    "invalid_webhook",
    "mount_failed",  # what uses a model
    "program_not_runnable",
    "program_not_found",
    "program_failed",  # benchmarks
    "memory_taken",
}
OUTSIDE_OF_ERRORS = ("modeldist.agent.store.failures", "modeldist.bench.memory", "modeldist.bench.programs")
"""Where more kinds are: known as soon as these are imported."""


def codes(kind: type[ModeldistError]) -> Iterator[str]:
    yield kind.code
    for each in kind.__subclasses__():
        yield from codes(each)


def test_every_kind_of_error_that_a_pull_can_fail_with_has_a_verdict() -> None:
    for module in OUTSIDE_OF_ERRORS:
        import_module(module)
    failed = replace(RUNNING, state="failed")
    found = {code: explain(replace(failed, error=ErrorInfo(code, "It broke."))) for code in codes(ModeldistError)}
    unknown = {code for code, verdict in found.items() if verdict.bottleneck == "other"}
    assert unknown - {"pull_failed"} == NO_PULL_FAILS_WITH
    for code, verdict in found.items():
        assert code in verdict.evidence[0]
        assert verdict.remedy, code
        assert code in unknown or verdict.remedy != found["pull_failed"].remedy, "a remedy of its own"


def test_every_bottleneck_is_documented() -> None:
    page = Path("docs/explain.md").read_text()
    assert [name for name in get_args(Bottleneck) if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("code", "bottleneck", "nothing_came", "remedy"),
    [
        ("not_found", "not_found", "Nothing had come.", "`modeldist inspect REF`"),
        ("untrusted", "trust", "a policy is asked before anything is fetched", "`modeldist trust REF --policy FILE`"),
        ("unsupported", "unsupported", "Nothing had come.", "another form of the model"),
        ("usage", "request", "Nothing had come.", "`modeldist pull --help`"),
        ("deadline_exceeded", "deadline", "after 1 min 0 s", "later deadline"),
    ],
)
def test_a_pull_that_could_not_work(code: str, bottleneck: str, nothing_came: str, remedy: str) -> None:
    failed = Facts("failed", 60.0, error=ErrorInfo(code, "It broke."))
    found = explain(failed)
    assert (found.bottleneck, found.summary) == (bottleneck, "It broke.")
    assert nothing_came in " ".join(found.evidence)
    assert remedy in (found.remedy or "")


def test_what_was_there_and_went() -> None:
    failed = replace(RUNNING, state="failed", error=ErrorInfo("not_found", "404"))
    assert any("is no more" in sentence for sentence in explain(failed).evidence)


def test_what_a_pull_waited_for_until_its_deadline() -> None:
    late = replace(RUNNING, state="failed", error=ErrorInfo("deadline_exceeded", "Too late."))
    assert not any("Of its time" in sentence for sentence in explain(late).evidence)
    found = explain(replace(late, where=looked({"disk": 45.0, "origin": 15.0})))
    assert "Of its time: 75% waiting for this node's disk, 25% waiting for the origin." in found.evidence


def test_a_pull_that_is_done_says_what_limited_it() -> None:
    where = looked({"origin": 55.0, "disk": 5.0}, rates={})
    found = explain(replace(RUNNING, state="done", origin=10**10, where=where))
    assert found.bottleneck == "origin"
    assert "10.0 GB came from the origin in 1 min 0 s, 167 MB/s on average" in found.summary
    assert "92%" in found.evidence[0]


@pytest.mark.parametrize(
    ("facts", "bottleneck", "words"),
    [
        (Facts("done", 0.1, 10, origin=10), None, "10 B came from the origin in 0.1 s"),
        (Facts("done", 3.0, 10, local=10), None, "nothing was fetched"),
        (Facts("cancelled", 3.0), None, "stopped"),
        (Facts("waiting", 3.0), None, "not said anything"),
        (Facts("waiting", 3.0, away=True), "agent_away", "not connected"),
        (Facts("pulling", 3.0, away=True), "agent_away", "not known"),
        (Facts("resolving", 60.0, where=looked({"resolve": 10.0})), "origin", "does not say"),
        (Facts("resolving", 1.0, where=looked({"resolve": 1.0})), None, ""),
        (Facts("waiting", 60.0, where=looked({"other": 10.0})), "other_process", "Another process"),
        (Facts("materialising", 60.0, where=looked({"disk": 10.0})), "disk", "disk"),
        (Facts("pulling", 60.0, where=looked({"work": 10.0})), None, ""),
    ],
)
def test_other_states(facts: Facts, bottleneck: str | None, words: str) -> None:
    found = explain(facts)
    assert found.bottleneck == bottleneck
    assert words in found.summary


def test_a_pull_that_is_done_is_told_of_in_the_past() -> None:
    done = replace(RUNNING, state="done", origin=10**9, peers=10**6)
    found = explain(replace(done, where=looked({"pieces": 50.0, "origin": 10.0})))
    assert found.bottleneck == "upstream"
    assert "This node waited for pieces" in found.summary
    assert not any("So far" in sentence for sentence in explain(replace(done, where=None)).evidence)
    assert explain(replace(done, where=None)).evidence == ("In all 1.00 GB from the origin, 1.00 MB from other nodes.",)
    assert explain(replace(done, peers=0, where=None)).evidence == (), "the summary has it"
    slow = looked({"resolve": 50.0, "origin": 10.0})
    assert "took its time to say" in explain(replace(done, where=slow)).summary


def test_what_other_versions_have_is_waited_for_at_no_other_node() -> None:
    where = looked({"reuse": 9.0, "origin": 1.0}, rates={"origin": MB})
    for state in ("pulling", "done"):
        found = explain(replace(RUNNING, state=state, where=where))
        assert found.bottleneck is None
        assert "90% taking what other versions have of it" in found.evidence[0]
