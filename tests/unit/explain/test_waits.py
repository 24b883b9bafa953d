from __future__ import annotations

import threading

from modeldist.explain.waits import met, met_by, standing, waits_for


@waits_for("disk")
def _writes(entered: threading.Event, left: threading.Event) -> None:
    entered.set()
    left.wait(10)


@waits_for("verify")
def _hashes(entered: threading.Event, left: threading.Event) -> None:
    _writes(entered, left)


def test_the_innermost_marked_function_says_what_a_thread_waits_for() -> None:
    entered, left = threading.Event(), threading.Event()
    thread = threading.Thread(target=_hashes, args=(entered, left))
    thread.start()
    assert entered.wait(10)
    try:
        found = standing()
        assert thread.ident is not None
        assert found[thread.ident] == "disk"
        assert threading.get_ident() not in found
    finally:
        left.set()
        thread.join()


def test_what_a_thread_met_is_remembered_for_it() -> None:
    met("rate_limited: slower, please")
    assert met_by(threading.get_ident()) == "rate_limited: slower, please"
    assert met_by(-1) == ""
