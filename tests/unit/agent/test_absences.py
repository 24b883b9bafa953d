"""For how long an agent that went away in mid-pull is waited for."""

from __future__ import annotations

from modeldist.agent.following import Absences


def test_the_time_begins_with_the_first_look_and_runs_out() -> None:
    absences = Absences(60.0)
    absences.arrived(10, 99.0)
    assert absences.begin(100.0)
    assert not absences.begin(130.0)
    assert absences.left(130.0) == 30.0
    assert absences.left(161.0) < 0


def test_it_begins_anew_where_more_has_arrived_than_ever() -> None:
    absences = Absences(60.0)
    absences.arrived(10, 0.0)
    assert absences.begin(0.0)
    absences.arrived(11, 50.0)
    assert absences.begin(50.0)
    assert absences.left(50.0) == 60.0


def test_an_agent_that_comes_back_and_goes_away_again_is_not_waited_for_for_ever() -> None:
    absences = Absences(60.0)
    absences.arrived(10, 0.0)
    assert absences.begin(0.0)
    for second in range(10, 60, 10):
        for done in (0, 8, 10):
            absences.arrived(done, float(second))
        assert not absences.begin(float(second))
    assert absences.left(61.0) < 0


def test_only_the_time_counts_for_which_it_is_away() -> None:
    absences = Absences(60.0)
    absences.arrived(10, 0.0)
    assert absences.begin(0.0)
    absences.arrived(10, 20.0)
    assert absences.begin(3620.0), "it was here for an hour: that it is away is news"
    assert absences.left(3620.0) == 40.0
    assert absences.left(3661.0) < 0


def test_no_patience_at_all() -> None:
    absences = Absences(0.0)
    assert absences.begin(5.0)
    assert absences.left(5.0) <= 0
