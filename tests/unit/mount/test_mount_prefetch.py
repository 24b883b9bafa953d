"""What a mount asks for next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modeldist.mount.access_order import Range
from modeldist.mount.prefetch import FIRST_WINDOW, LARGEST_WINDOW, MOST_WISHES, Prefetch

MIB = 1 << 20
SIZES = {"a": 1024 * MIB, "b": 100 * MIB}
PLAN = (Range("b", 0, 100 * MIB), Range("a", 0, 512 * MIB), Range("a", 512 * MIB, 1024 * MIB))


def test_before_anybody_reads_the_plan_is_followed() -> None:
    assert Prefetch(PLAN, SIZES).wishes() == PLAN


def test_what_somebody_waits_for_comes_first_then_what_follows_it_then_the_plan() -> None:
    prefetch = Prefetch(PLAN, SIZES)
    prefetch.waits("a", 600 * MIB, 601 * MIB)
    assert prefetch.wishes() == (
        Range("a", 600 * MIB, 601 * MIB),
        Range("a", 601 * MIB, 601 * MIB + 2 * FIRST_WINDOW),
        Range("a", 512 * MIB, 1024 * MIB),
        Range("b", 0, 100 * MIB),
        Range("a", 0, 512 * MIB),
    )


def test_who_waits_longest_comes_first() -> None:
    prefetch = Prefetch((), SIZES)
    first = prefetch.waits("a", 500 * MIB, 501 * MIB)
    prefetch.waits("b", 0, MIB)
    assert prefetch.wishes()[:2] == (Range("a", 500 * MIB, 501 * MIB), Range("b", 0, MIB))
    prefetch.served(first)
    assert prefetch.wishes()[0] == Range("b", 0, MIB)


def test_the_window_of_a_sequential_reader_grows_to_a_limit() -> None:
    prefetch = Prefetch((), SIZES)
    windows = []
    for at in range(10):
        prefetch.served(prefetch.waits("a", at * MIB, (at + 1) * MIB))
        (ahead,) = prefetch.wishes()
        assert ahead.start == (at + 1) * MIB
        windows.append(ahead.stop - ahead.start)
    assert windows[:3] == [2 * FIRST_WINDOW, 4 * FIRST_WINDOW, 8 * FIRST_WINDOW]
    assert windows[-1] == LARGEST_WINDOW


def test_requests_of_one_reader_may_come_out_of_order() -> None:
    prefetch = Prefetch((), SIZES)
    for at in (0, 2, 1, 3):
        prefetch.read("a", at * MIB, (at + 1) * MIB)
    assert prefetch.wishes() == (Range("a", 4 * MIB, 4 * MIB + FIRST_WINDOW),)


def test_nothing_is_wanted_beyond_the_end() -> None:
    prefetch = Prefetch((), SIZES)
    prefetch.read("b", 98 * MIB, 99 * MIB)
    assert prefetch.wishes() == (Range("b", 99 * MIB, 100 * MIB),)
    prefetch.read("b", 99 * MIB, 100 * MIB)
    assert prefetch.wishes() == ()


def test_random_readers_do_not_make_runs_without_end() -> None:
    prefetch = Prefetch((), SIZES)
    for at in range(0, 1000, 20):
        prefetch.read("a", at * MIB, at * MIB + 4096)
    assert len(prefetch.wishes()) == 8


def test_what_is_here_is_not_wanted() -> None:
    prefetch = Prefetch(PLAN, SIZES)
    assert prefetch.wishes(lambda wanted: wanted.path == "a") == PLAN[1:]


def test_the_plan_goes_on_from_where_a_reader_is_in_it() -> None:
    plan = [Range("a", at * MIB, (at + 1) * MIB) for at in (7, 3, 900, 1)]
    prefetch = Prefetch(plan, SIZES)
    prefetch.read("a", 900 * MIB, 900 * MIB + 10)
    assert prefetch.wishes()[1:] == (plan[2], plan[3], plan[0], plan[1])


def test_a_header_refines_the_plan_where_the_body_was_one_range() -> None:
    plan = (Range("a", 0, MIB), Range("b", 0, MIB), Range("a", MIB, 1024 * MIB), Range("b", MIB, 100 * MIB))
    prefetch = Prefetch(plan, SIZES)
    prefetch.refine("a", (Range("a", 500 * MIB, 1024 * MIB), Range("a", 1000, 500 * MIB)))
    assert prefetch.wishes() == (
        *plan[:2],
        Range("a", 500 * MIB, 1024 * MIB),
        Range("a", MIB, 500 * MIB),
        plan[3],
    )


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 100 * MIB - 1), st.integers(1, 4 * MIB), st.booleans())),
)
def test_wishes_are_few_inside_the_files_and_begin_with_who_waits(reads: list[tuple[str, int, int, bool]]) -> None:
    prefetch = Prefetch(PLAN, SIZES)
    waiting = []
    for path, start, length, here in reads:
        stop = min(start + length, SIZES[path])
        if here:
            prefetch.read(path, start, stop)
        else:
            prefetch.waits(path, start, stop)
            waiting.append(Range(path, start, stop))
    wishes = prefetch.wishes()
    assert len(wishes) <= MOST_WISHES
    assert all(0 <= start < stop <= SIZES[path] for path, start, stop in wishes)
    assert list(wishes)[: len(set(waiting))] == list(dict.fromkeys(waiting))[:MOST_WISHES]
