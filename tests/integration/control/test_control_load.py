"""The load generator against a real server process: what it measures is for people, that nothing is lost is for CI."""

from __future__ import annotations

import resource

import pytest

from modeldist.control.load.descriptors import allow_descriptors
from modeldist.control.load.plan import LoadPlan
from modeldist.control.load.run import measure
from modeldist.errors import UsageError

ANYWHERE = {"server_core": None, "agents_core": None}


async def test_fifty_agents_are_all_answered() -> None:
    plan = LoadPlan(agents=50, seconds=2.0, interval=0.5, asks=30.0, swarm=25, pull_seconds=2.0, settle=1.0, **ANYWHERE)
    result = await measure(plan)
    assert (result.unanswered, result.dropped, result.wrong, result.complaints) == (0, {}, {}, {})
    assert result.joins.count == result.joined_at_once == 48
    assert set(result.by_kind) == {"candidates", "joined", "lease"}
    assert result.reports > 0


def test_a_limit_of_descriptors_that_is_too_low_is_named() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(UsageError, match=rf"this process may open {hard}") as raised:
        allow_descriptors(hard)
    assert "LimitNOFILE" in raised.value.remedy
