"""A small burst: far more than may run at once, all of it done in the end, nothing lost but what was asked again."""

from __future__ import annotations

import pytest

from modeldist.bench.burst.plan import BurstPlan
from modeldist.bench.burst.run import measure
from modeldist.bench.overload import described


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_hundred_pulls_where_twenty_may_run() -> None:
    plan = BurstPlan(pulls=100, models=20, ceiling=20, resolving=5, seconds=0.2)
    result = await measure(plan)
    assert result.failed == {}
    assert result.sound
    assert sum(part.pulls for part in result.by_priority.values()) == 100
    assert result.sessions_completed.count == 100
    prefetch = result.by_priority["prefetch"]
    assert prefetch.overloaded + prefetch.share_used_up > 0
    assert sum(result.sessions_refused.values()) > 0
    assert result.complaints == {}
    assert "100 clients ask" in described(plan, result)
