from __future__ import annotations

import random

import pytest

from modeldist.transfer.verbs.chunk_ledger import ChunkLedger


@pytest.fixture
def ledger() -> ChunkLedger[str]:
    return ChunkLedger(100, keep=10.0)


def test_chunks_stay_while_there_is_room(ledger: ChunkLedger[str]) -> None:
    for name in "abab":
        assert ledger.begin(name, 50) == []
        ledger.end(name, 0.0)
    assert ledger.uses == 0


def test_the_least_recently_used_goes_first(ledger: ChunkLedger[str]) -> None:
    for name in "aba":
        ledger.begin(name, 50)
        ledger.end(name, 0.0)
    assert ledger.begin("c", 50) == ["b"]
    assert ledger.begin("d", 50) == ["a"]


def test_as_many_go_as_must(ledger: ChunkLedger[str]) -> None:
    for name in "abcd":
        ledger.begin(name, 25)
        ledger.end(name, 0.0)
    assert ledger.begin("e", 30) == ["a", "b"]
    assert ledger.begin("f", 20) == []


def test_none_in_use_goes(ledger: ChunkLedger[str]) -> None:
    ledger.begin("a", 60)
    ledger.begin("b", 30)
    ledger.end("b", 0.0)
    assert ledger.begin("c", 50) is None
    assert ledger.uses == 1
    assert ledger.begin("b", 30) == []  # it was not let go of in vain
    assert ledger.begin("d", 101) is None


def test_unused_ones_expire(ledger: ChunkLedger[str]) -> None:
    for name in "abc":
        ledger.begin(name, 10)
    ledger.end("a", 0.0)
    ledger.end("b", 5.0)
    assert ledger.expired(9.9) == []
    assert ledger.expired(10.0) == ["a"]
    ledger.begin("b", 10)
    assert ledger.expired(100.0) == []
    ledger.end("b", 100.0)
    assert ledger.expired(110.0) == ["b"]


def test_a_use_ends_once(ledger: ChunkLedger[str]) -> None:
    ledger.begin("a", 100)
    ledger.end("a", 0.0)
    with pytest.raises(KeyError):
        ledger.end("a", 0.0)


@pytest.mark.parametrize("seed", range(20))
def test_the_chunks_never_exceed_the_capacity(seed: int) -> None:
    dice = random.Random(seed)
    ledger: ChunkLedger[int] = ChunkLedger(100, keep=3.0)
    lengths = [dice.randint(1, 60) for _ in range(12)]
    held: set[int] = set()
    used: list[int] = []
    for now in range(500):
        if used and dice.random() < 0.5:
            ledger.end(used.pop(dice.randrange(len(used))), float(now))
        else:
            key = dice.randrange(len(lengths))
            dropped = ledger.begin(key, lengths[key])
            if dropped is None:
                assert key not in held
                continue
            assert not set(dropped) & set(used)
            held -= set(dropped)
            held.add(key)
            used.append(key)
        held -= set(ledger.expired(float(now)))
        assert set(used) <= held
        assert sum(lengths[key] for key in held) <= 100
        assert ledger.uses == len(used)
