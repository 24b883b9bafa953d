from __future__ import annotations

from modeldist.transfer.verbs.lane_policy import FIRST_PAUSE, LONGEST_PAUSE, LanePolicy


def test_one_question_at_a_time() -> None:
    policy = LanePolicy()
    assert policy.ask(0.0)
    assert not policy.ask(1000.0)
    policy.opened()
    assert policy.ask(1000.0)


def test_pauses_grow_while_lanes_fail_and_shrink_when_bytes_came() -> None:
    policy, now, pauses = LanePolicy(), 0.0, []
    for _ in range(10):
        assert policy.ask(now)
        policy.failed(now)
        began = now
        while not policy.ask(now):
            now += 0.5
        policy.opened()
        pauses.append(now - began)
    assert pauses[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    policy.proved()
    policy.failed(now)
    assert not policy.ask(now + FIRST_PAUSE - 0.1)
    assert policy.ask(now + FIRST_PAUSE)
