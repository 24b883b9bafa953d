"""The limits of a piece server: upload rate, admission, pace, with a clock of our own."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.transfer.base import ServedLoad
from modeldist.transfer.frames import MAX_BLOCK
from modeldist.transfer.rate_limit import RateLimit
from modeldist.transfer.served_account import ServedAccount
from modeldist.transfer.tcp.send_pace import SendPace

MIB = 1 << 20


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.floats(1e4, 1e9), st.lists(st.integers(1, MIB), min_size=1, max_size=50))
def test_reservations_never_exceed_the_rate_beyond_a_short_burst(rate: float, blocks: list[int]) -> None:
    clock = Clock()
    bucket = RateLimit(rate, clock)
    for sent, block in enumerate(blocks):
        wait = bucket.reserve(block)
        assert wait >= 0
        clock.now += wait
        assert sum(blocks[:sent]) <= rate * (clock.now - 100.0 + 0.1) * 1.000001


def test_what_was_not_used_is_not_saved_up() -> None:
    clock = Clock()
    bucket = RateLimit(1000.0, clock)
    clock.now += 3600
    assert bucket.reserve(100) == 0
    assert bucket.reserve(1000) == pytest.approx(0.0, abs=1e-6)
    assert bucket.reserve(1) == pytest.approx(1.0)


def test_what_has_moved_already_is_paid_for_before_more_does() -> None:
    clock = Clock()
    bucket = RateLimit(1000.0, clock)
    assert bucket.spent(600) == pytest.approx(0.5), "a tenth of a second's worth was saved up"
    assert bucket.reserve(0) == pytest.approx(0.5)


def test_without_a_limit_nothing_waits() -> None:
    bucket = RateLimit(None, Clock())
    assert bucket.block == MAX_BLOCK
    assert bucket.reserve(1 << 40) == 0


@pytest.mark.parametrize(("rate", "block"), [(1000.0, 16 * 1024), (4.0 * MIB, int(4 * MIB * 0.05)), (1e9, MAX_BLOCK)])
def test_slow_limits_are_given_out_in_small_blocks(rate: float, block: int) -> None:
    assert RateLimit(rate, Clock()).block == block


def test_a_rate_that_serves_nobody() -> None:
    with pytest.raises(ValueError, match="lets nothing through"):
        RateLimit(0, Clock())


def test_admission_counts_requests_and_lets_newcomers_in() -> None:
    account = ServedAccount(2, Clock())
    assert account.admit(10, waiting=0)
    assert account.admit(10, waiting=1)
    assert not account.admit(10, waiting=2)
    assert account.admit(10, waiting=0)
    account.sent(4)
    assert account.load() == ServedLoad(3, 26, 4)
    account.finished(6)
    account.finished(10)
    assert account.admit(10, waiting=1)
    assert account.load() == ServedLoad(2, 20, 4)


def test_retry_after_follows_what_waits_and_how_fast_it_leaves() -> None:
    clock = Clock()
    account = ServedAccount(1, clock)
    assert account.retry_after() == 0.02
    account.admit(10_000_000, waiting=0)
    clock.now += 1
    account.sent(2_000_000)
    assert account.retry_after() == pytest.approx(2.0)
    clock.now += 1
    account.sent(7_000_000)
    assert account.retry_after() == pytest.approx(1_000_000 / 14_000_000)


@pytest.fixture
def sock() -> socket.socket:
    with socket.socket() as sock:
        yield sock  # type: ignore[misc]


def _unsent_limit(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)


def test_a_slow_child_gets_small_blocks_and_a_short_queue(sock: socket.socket) -> None:
    pace = SendPace(sock)
    for _ in range(40):
        pace.sent(pace.block, pace.block / 30e6)
    assert pace.block == 512 * 1024, "what leaves in 20 ms or somewhat less"
    assert 250_000 < _unsent_limit(sock) < 1_100_000


def test_a_fast_child_gets_large_blocks_and_the_kernels_buffering(sock: socket.socket) -> None:
    pace = SendPace(sock)
    kernels_own = _unsent_limit(sock)
    for _ in range(40):
        pace.sent(pace.block, pace.block / 1e7)
    for _ in range(40):
        pace.sent(pace.block, pace.block / 2e9)
    assert pace.block == MAX_BLOCK
    assert _unsent_limit(sock) == kernels_own


def test_a_very_slow_child_still_gets_a_block(sock: socket.socket) -> None:
    pace = SendPace(sock)
    for _ in range(80):
        pace.sent(pace.block, 10.0)
    assert pace.block == 256 * 1024
