"""Complaints of whoever connects: one line, then numbers."""

from __future__ import annotations

from collections.abc import Callable

from modeldist.agent.complaints import COUNTED_FOR, MOST, Complaints

WHAT = "Invalid HTTP request received."


class Hour:
    """What was said, and what is to be done at the end of each minute."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._due: list[Callable[[], None]] = []
        self.complaints = Complaints(self.said.append, self._later)

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        assert seconds == COUNTED_FOR
        self._due.append(do)

    def minute(self) -> None:
        due, self._due = self._due, []
        for each in due:
            each()

    @property
    def waits(self) -> bool:
        return bool(self._due)

    def new(self) -> list[str]:
        said, self.said[:] = list(self.said), []
        return said


def test_a_line_and_then_a_number_a_minute() -> None:
    hour = Hour()
    first = f"{WHAT} It came from 10.0.0.9; more of them are counted."
    for _ in range(1000):
        hour.complaints.note(WHAT, "10.0.0.9")
    assert hour.new() == [first]
    hour.minute()
    assert hour.new() == [f"{WHAT} 999 more came from 10.0.0.9 within 60 s."]
    hour.complaints.note(WHAT, "10.0.0.9")
    assert hour.new() == []
    hour.minute()
    assert hour.new() == [f"{WHAT} 1 more came from 10.0.0.9 within 60 s."]
    hour.minute()
    assert (hour.new(), hour.waits) == ([], False), "nothing is kept of who stopped"
    hour.complaints.note(WHAT, "10.0.0.9")
    assert hour.new() == [first]


def test_addresses_and_kinds_are_told_apart() -> None:
    hour = Hour()
    for address in ("10.0.0.9", "10.0.0.8"):
        for what in (WHAT, "Unsupported upgrade request."):
            hour.complaints.note(what, address)
    assert len(hour.new()) == 4
    hour.minute()
    assert (hour.new(), hour.waits) == ([], False)


def test_very_many_addresses_are_one() -> None:
    hour = Hour()
    for number in range(3 * MOST):
        hour.complaints.note(WHAT, f"2001:db8::{number:x}")
    said = hour.new()
    assert len(said) == MOST + 1
    assert said[-1] == f"{WHAT} It came from others; more of them are counted."
    hour.minute()
    assert hour.new() == [f"{WHAT} {2 * MOST - 1} more came from others within 60 s."]
