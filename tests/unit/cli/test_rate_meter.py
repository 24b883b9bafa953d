from __future__ import annotations

from modeldist.cli.rate_meter import RateMeter


def test_no_rate_before_it_means_something() -> None:
    meter = RateMeter()
    assert meter.per_second == 0
    meter.add(10.0, 0)
    meter.add(10.1, 1_000_000)
    assert meter.per_second == 0


def test_the_rate_is_of_the_last_seconds_only() -> None:
    meter = RateMeter(window=4.0)
    for second in range(10):
        meter.add(float(second), 100 * second)
    assert meter.per_second == 100
    for second in range(10, 20):
        meter.add(float(second), 1000 + 500 * (second - 10))
    assert meter.per_second == 500


def test_a_pull_that_starts_again_has_no_negative_rate() -> None:
    meter = RateMeter()
    meter.add(0.0, 1000)
    meter.add(2.0, 0)
    assert meter.per_second == 0


def test_a_pull_that_another_agent_goes_on_with_is_measured_anew() -> None:
    meter = RateMeter(window=4.0)
    meter.add(100.0, 1000)
    meter.add(101.0, 2000)
    for second in range(3):
        meter.add(float(second), 100 * second)
    assert meter.per_second == 100
