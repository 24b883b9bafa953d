"""What the benchmark of mounts says of its figures."""

from __future__ import annotations

from modeldist.bench.mount import described


def rates(direct: float) -> dict[str, dict[str, list[float]]]:
    plain = {"disk": [2e9, 1e9], "cached": [8e9], "again": [8e9]}
    return {
        "plain": plain,
        "direct": {state: [direct * max(runs)] for state, runs in plain.items()},
        "FUSE": {state: [1e9] for state in plain},
    }


def test_each_way_is_held_against_the_plain_file() -> None:
    said = described(rates(0.9))
    assert "| plain | 2.00 (1.00) | 8.00 (1.00) | 8.00 (1.00) |" in said
    assert "| direct | 1.80 (0.90) | 7.20 (0.90) | 7.20 (0.90) |" in said
    assert "| FUSE | 1.00 (0.50) | 1.00 (0.12) | 1.00 (0.12) |" in said
    assert "0.90 of the plain file's rate or more; 0.7 is wanted: kept." in said


def test_a_rate_that_is_missed_is_said_so() -> None:
    assert "MISSED" in described(rates(0.6))
