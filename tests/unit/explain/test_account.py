from __future__ import annotations

from modeldist.explain import Account, Around


def test_time_and_bytes_by_what_was_waited_for() -> None:
    account = Account(0.0)
    for tick in range(1, 101):  # ten seconds
        account.looked({"origin": 3, "disk": 1}, {"origin": 100}, tick / 10)
    where = account.where(Around())
    assert where.waits == {"origin": 7.5, "disk": 2.5}
    assert where.rates == {"origin": 1000.0}
    assert (where.still, round(where.since)) == (0.0, 10)


def test_the_present_is_the_last_ten_seconds() -> None:
    account = Account(0.0)
    for tick in range(1, 301):
        account.looked({"origin": 1} if tick <= 100 else {"disk": 1}, {"origin": 10} if tick <= 100 else {}, tick / 10)
    where = account.where(Around())
    assert set(where.lately) == {"disk"}
    assert where.waits["origin"] == 10.0
    assert where.rates == {}
    assert round(where.still) == 20
    assert 18.0 <= where.since <= 21.0


def test_what_is_told_is_bounded() -> None:
    account = Account(0.0)
    account.looked(
        {f"parent:{number}": 1 for number in range(500)}, {f"n{number}": number for number in range(500)}, 1.0
    )
    where = account.where(Around())
    assert len(where.lately) == len(where.rates) == 12
    assert "n499" in where.rates


def test_nothing_was_looked_at() -> None:
    where = Account(5.0).where(Around(control="away"))
    assert (where.waits, where.rates, where.window, where.around.control) == ({}, {}, 0.0, "away")
