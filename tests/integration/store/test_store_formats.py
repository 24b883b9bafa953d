"""A store of an older format becomes one of the newest, in place; who may not know is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeldist.agent.store import Store
from modeldist.agent.store.atomic import sync_directory
from modeldist.agent.store.formats import Formats, Step
from modeldist.agent.store.locks import lock
from modeldist.agent.store.places import Places
from modeldist.errors import StorageError
from tests.integration.store.made_models import artifact_of, content, pull

FILES = {"config.json": b"{}", "weights.bin": content(100_000)}
ARTIFACT = artifact_of(FILES)
REFERENCE = "org/model:main"


def with_suffix(root: Path) -> None:
    """As the format before would have left it: it called the file of a pin otherwise."""
    for pin in (root / "pins").iterdir():
        pin.rename(pin.with_name(f"{pin.name}.pin"))


def rename_pins(places: Places) -> None:
    for pin in places.pins.glob("*.pin"):
        pin.rename(pin.with_suffix(""))
    sync_directory(places.pins)


RENAMES = Step(1, "pins have no suffix any more", rename_pins)
NOTHING = Step(2, "nothing changes", lambda _: None)
NEXT = Formats(2, (RENAMES,))


@pytest.fixture
def older(tmp_path: Path) -> Path:
    store = Store.open(tmp_path / "store")
    pull(store, ARTIFACT, FILES, REFERENCE)
    store.materialise(ARTIFACT)
    store.pin(REFERENCE)
    store.close()
    with_suffix(store.root)
    return store.root


@pytest.mark.parametrize("formats", [NEXT, Formats(3, (RENAMES, NOTHING))], ids=["one step", "two steps"])
def test_a_store_is_migrated_where_it_is(older: Path, formats: Formats) -> None:
    said: list[str] = []
    store = Store.open(older, formats=formats, tell=said.append)
    assert store.pinned(REFERENCE)
    assert store.snapshot(ARTIFACT) is not None
    assert (older / "VERSION").read_text() == f"{formats.newest}\n"
    assert said[0] == f"The store at {older} is migrated from format 1 to 2: pins have no suffix any more."
    assert "older programs will refuse it" in said[1]
    said.clear()
    Store.open(older, formats=formats, tell=said.append).close()
    assert not said, "once"
    with pytest.raises(StorageError, match="this program knows format 1") as refusal:
        Store.open(older)
    assert refusal.value.remedy.startswith("Upgrade modeldist")
    store.close()


def test_a_new_store_has_the_newest_format(tmp_path: Path) -> None:
    said: list[str] = []
    Store.open(tmp_path / "store", formats=NEXT, tell=said.append).close()
    assert (tmp_path / "store" / "VERSION").read_text() == "2\n"
    assert not said


def test_one_whose_version_a_crash_took_is_migrated(older: Path) -> None:
    (older / "VERSION").write_bytes(b"\0\0")
    assert Store.open(older, formats=NEXT, tell=lambda _: None).pinned(REFERENCE)


def test_nobody_may_work_with_it_meanwhile(older: Path) -> None:
    old = Store.open(older)
    with lock(older / "agent.lock"), pytest.raises(StorageError, match="an agent works with it"):
        Store.open(older, formats=NEXT)
    with old.lease((), ARTIFACT.digest), pytest.raises(StorageError, match="a pull, or a program that was started"):
        Store.open(older, formats=NEXT)
    with (
        old.begin(artifact_of({"other.bin": content(3 << 20)}).shards[0], 1 << 20),
        pytest.raises(StorageError, match="a pull works with it"),
    ):
        Store.open(older, formats=NEXT)
    assert (older / "VERSION").read_text() == "1\n"
    assert Store.open(older, formats=NEXT, tell=lambda _: None).pinned(REFERENCE)


def test_one_that_is_too_old_says_so(older: Path) -> None:
    with pytest.raises(StorageError, match="has format '1'; this program knows format 3") as refusal:
        Store.open(older, formats=Formats(3, (NOTHING,)))
    assert "too old to be migrated" in refusal.value.remedy
