from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.cli import units
from modeldist.errors import UsageError


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (91_619_001, "91.6 MB"),
        (999_999, "1.00 MB"),
        (1_340_000_000, "1.34 GB"),
        (16_100_000_000, "16.1 GB"),
        (140_000_000_000, "140 GB"),
        (2_500_000_000_000, "2.50 TB"),
    ],
)
def test_sizes_are_decimal_with_three_digits(count: int, text: str) -> None:
    assert units.size(count) == text


@given(st.integers(0, 10**16))
def test_a_size_is_short_and_near(count: int) -> None:
    text = units.size(count)
    assert len(text) <= 9
    assert abs(units.parse_size(text) - count) <= max(0.01 * count, 0)


@pytest.mark.parametrize(("speed", "text"), [(1.31e9, "1.31 GB/s"), (2.5e7, "25.0 MB/s"), (55_500, "55.5 kB/s")])
def test_rates_are_gigabytes_where_they_compare(speed: float, text: str) -> None:
    assert units.rate(speed) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.26, "0.3 s"),
        (12.4, "12 s"),
        (59.7, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (400_000, "4 d"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "just now"), (61, "1 min ago"), (7300, "2 h ago"), (200_000, "2 d ago")]
)
def test_how_long_ago(seconds: float, text: str) -> None:
    assert units.ago(seconds) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("123", 123), ("12B", 12), ("500GB", 500 * 10**9), ("1.5TiB", 3 << 39), ("2 g", 2 * 10**9), ("7kib", 7168)],
)
def test_sizes_as_typed(text: str, count: int) -> None:
    assert units.parse_size(text) == count


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("45m", 2700), ("12h", 43200), ("30D", 30 * 86400)])
def test_durations_as_typed(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "5 parsecs", "1e9", "ten", "9" * 400])
def test_what_is_no_number_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        units.parse_size(text)
    with pytest.raises(UsageError, match="not a duration"):
        units.parse_duration(text)
