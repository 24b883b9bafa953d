"""Which version a machine runs, wherever it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from errno import ENOSPC
from os import fsync, strerror
from pathlib import Path

import pytest

from modeldist.upgrade.versions import CRASHES, OWN, Trial, Versions

TRIAL = Trial("r1", "0.2.0", OWN, within=10.0, keep_after=5.0, undo=("--migrate-to", "0006"))


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    for version in ("0.2.0", "0.3.0"):
        (tmp_path / version).mkdir()
    return Versions(tmp_path)


def test_without_any_the_launchers_own_runs(tmp_path: Path) -> None:
    assert Versions(tmp_path / "nowhere").choose() == (OWN, None)


def test_a_version_is_tried_kept_and_followed_by_the_next(versions: Versions) -> None:
    versions.begin(TRIAL)
    assert versions.choose() == ("0.2.0", TRIAL)
    assert versions.current == OWN, "nothing has proven itself yet"
    versions.came_up()
    versions.keep()
    assert versions.choose() == ("0.2.0", None)
    versions.begin(Trial("r2", "0.3.0", versions.current, within=10.0))
    versions.give_up("it was slow")
    assert versions.choose() == ("0.2.0", None)
    outcome = versions.outcome()
    assert outcome is not None
    assert (outcome.result, outcome.why, outcome.version, outcome.before) == (
        "gone_back",
        "it was slow",
        "0.3.0",
        "0.2.0",
    )


def test_one_that_crashes_again_and_again_is_given_up(versions: Versions) -> None:
    versions.begin(TRIAL)
    for crash in range(1, CRASHES):
        versions.came_up()
        versions.crashed("with exit code 1")
        version, trial = versions.choose()
        assert version == "0.2.0" and trial is not None
        assert (trial.crashes, trial.up) == (crash, False)
    versions.crashed("with exit code 1")
    assert versions.choose() == (OWN, None)
    outcome = versions.outcome()
    assert outcome is not None and outcome.undo == TRIAL.undo
    versions.undone()
    assert (again := versions.outcome()) is not None and again.undo == ()


def test_one_that_was_kept_goes_back_on_the_word_of_its_rollout_alone(versions: Versions) -> None:
    versions.begin(TRIAL)
    versions.keep()
    assert not versions.go_back("another", "because")
    assert versions.choose() == ("0.2.0", None)
    assert versions.go_back("r1", "because")
    assert versions.choose() == (OWN, None)
    assert not versions.go_back("r1", "because"), "and no further"
    outcome = versions.outcome()
    assert outcome is not None and (outcome.result, outcome.undo) == ("gone_back", TRIAL.undo)


def test_a_version_that_is_not_there_is_not_tried(versions: Versions) -> None:
    versions.begin(Trial("r1", "0.9.0", OWN, within=1.0))
    assert versions.choose() == (OWN, None)
    (versions.root / "current").symlink_to("0.9.0")
    assert versions.current == OWN
    (versions.root / "current").unlink()
    (versions.root / "current").symlink_to("../elsewhere")
    assert versions.current == OWN


def test_damaged_and_later_notes_do_no_harm(versions: Versions) -> None:
    for text in ("", "{", "[]", '{"version": "0.2.0"}', "\0"):
        (versions.root / "trial.json").write_text(text)
        assert versions.choose() == (OWN, None)
    versions.begin(TRIAL)
    path = versions.root / "trial.json"
    path.write_text(path.read_text().replace("{", '{"later": 1, ', 1))
    assert versions.choose() == ("0.2.0", TRIAL)


def test_what_is_not_needed_goes(versions: Versions) -> None:
    (versions.root / ".installing-x").mkdir()
    versions.begin(TRIAL)
    versions.keep()
    versions.remove_others()
    assert sorted(path.name for path in versions.root.iterdir() if path.is_dir()) == ["0.2.0", "current"]


def test_what_a_rollout_may_go_back_to_stays(versions: Versions) -> None:
    for rollout, version, before in (("r1", "0.2.0", OWN), ("r2", "0.3.0", "0.2.0")):
        versions.begin(Trial(rollout, version, before, within=10.0))
        versions.keep()
    versions.remove_others()
    assert versions.go_back("r2", "because")
    assert versions.choose() == ("0.2.0", None)


class Stopped(Exception):
    """The machine stops here."""


@pytest.mark.parametrize("step", range(1, 12))
@pytest.mark.parametrize("what", ["keep", "give_up", "go_back"])
def test_stopped_at_any_moment(what: str, step: int, versions: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was done of it: what runs next is one of the two, and what is said became of it agrees."""
    versions.begin(TRIAL)
    if what == "go_back":
        versions.keep()
    left = step

    def count() -> int:
        nonlocal left
        left -= 1
        return left

    for name in ("rename", "unlink", "symlink_to"):
        monkeypatch.setattr(Path, name, stopping(getattr(Path, name), count))
    work = {
        "keep": versions.keep,
        "give_up": lambda: versions.give_up("x"),
        "go_back": lambda: versions.go_back("r1", "x"),
    }[what]
    with suppress(Stopped):
        work()
    monkeypatch.undo()
    version, trial = versions.choose()
    assert version in (OWN, "0.2.0")
    outcome = versions.outcome()
    if trial is None:
        assert outcome is not None
        assert version == ("0.2.0" if outcome.result == "kept" else OWN)
        assert versions.current == version


def stopping(real: Callable[..., object], count: Callable[[], int]) -> Callable[..., object]:
    def step(*given: object, **named: object) -> object:
        if count() < 0:
            raise Stopped
        return real(*given, **named)

    return step


def full(monkeypatch: pytest.MonkeyPatch, versions: Versions, *, spare: bool) -> None:
    """The disk has no room but for what the spare gives back."""

    def sync(fd: int) -> None:
        if not spare or (versions.root / "spare").exists():
            raise OSError(ENOSPC, strerror(ENOSPC))
        fsync(fd)

    monkeypatch.setattr("os.fsync", sync)


def test_on_a_full_disk_a_bad_version_goes_back_and_that_is_known(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions.begin(TRIAL)
    full(monkeypatch, versions, spare=True)
    versions.give_up("it was slow")
    assert versions.choose() == (OWN, None)
    outcome = versions.outcome()
    assert outcome is not None and (outcome.result, outcome.undo) == ("gone_back", TRIAL.undo)
    assert not (versions.root / "spare").exists()


def test_where_no_crash_can_be_counted_the_first_one_counts(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions.begin(TRIAL)
    (versions.root / "spare").unlink()
    with monkeypatch.context() as patched:
        full(patched, versions, spare=False)
        with suppress(OSError):  # the directory is synced last
            versions.crashed("with exit code 1")
    assert versions.choose() == (OWN, None)


def test_no_trial_begins_without_room_for_its_end(versions: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    full(monkeypatch, versions, spare=False)
    with pytest.raises(OSError, match=strerror(ENOSPC)):
        versions.begin(TRIAL)
    assert versions.choose() == (OWN, None)


def test_on_a_full_disk_one_that_was_told_to_go_back_does_not_run_again(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions.begin(Trial("r0", "0.2.0", OWN, within=10.0))
    versions.keep()
    versions.begin(Trial("r1", "0.3.0", "0.2.0", within=10.0))
    versions.keep()

    def no_room(*given: object, **named: object) -> None:
        raise OSError(ENOSPC, strerror(ENOSPC))

    monkeypatch.setattr(Path, "symlink_to", no_room)
    with suppress(OSError):
        versions.go_back("r1", "because")
    assert versions.choose() == ("0.2.0", None)
    monkeypatch.undo()
    assert versions.choose() == ("0.2.0", None)
    assert versions.current == "0.2.0", "written down once there is room"


def test_a_rollout_that_goes_back_changes_nothing_of_what_was_installed_since(versions: Versions) -> None:
    versions.begin(Trial("r1", "0.3.0", "0.2.0", within=10.0, undo=("--migrate-to", "0006")))
    versions.keep()
    versions.prefer_own()
    assert versions.choose() == (OWN, None)
    assert versions.go_back("r1", "it was aborted")
    assert versions.choose() == (OWN, None)
    outcome = versions.outcome()
    assert outcome is not None and (outcome.result, outcome.undo) == ("gone_back", ())
