"""Layers over each other: what is selected equals what is left after unpacking one after the other."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelpack.errors import InvalidTar
from modelpack.imagelayers import everything, unpacking_order
from modelpack.names import MAX_DIRECTORIES
from modelpack.tarstream import EntryType, TarEntry

Added = dict[str, EntryType]
Removed = list[tuple[str, str]]

paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
kinds: st.SearchStrategy[EntryType] = st.sampled_from(["file", "directory"])
additions = st.dictionaries(paths, kinds, max_size=4)
removals = st.lists(st.tuples(paths, st.sampled_from(["gone", "opaque"])), max_size=2)


def entries(added: Added, removed: Removed) -> list[TarEntry]:
    found = [TarEntry(f"models/{path}", kind, 0, 0o644) for path, kind in added.items()]
    for path, how in removed:
        parent, _, last = f"models/{path}".rpartition("/")
        name = f"{parent}/.wh.{last}" if how == "gone" else f"models/{path}/.wh..wh..opq"
        found.append(TarEntry(name, "file", 0, 0o644))
    return found


def consistent(added: Added) -> bool:
    """No file is also a directory within one layer."""
    return not any(other.startswith(f"{path}/") for path in added if added[path] == "file" for other in added)


def applied(layers: list[tuple[Added, Removed]]) -> set[tuple[str, int]]:
    """The files left, with the layer each is from, by doing what image-spec says from the first layer to the last."""
    tree: dict[str, tuple[EntryType, int]] = {}

    def drop(path: str, *, itself: bool) -> None:
        for other in [other for other in tree if other.startswith(f"{path}/") or (itself and other == path)]:
            del tree[other]

    def add(path: str, kind: EntryType, number: int) -> None:
        if kind == "file":
            drop(path, itself=True)
        if kind == "file" or tree.get(path, ("file", 0))[0] == "file":
            tree[path] = (kind, number)

    for number, (added, removed) in enumerate(layers):
        for path, how in removed:
            drop(path, itself=how == "gone")
        for path, kind in added.items():
            parts = path.split("/")
            for end in range(1, len(parts)):
                add("/".join(parts[:end]), "directory", number)
            add(path, kind, number)
    return {(path, number) for path, (kind, number) in tree.items() if kind == "file"}


@example([({"a": "file"}, []), ({"a/a": "file"}, []), ({}, [("a", "opaque")])])
@given(st.lists(st.tuples(additions.filter(consistent), removals), min_size=1, max_size=4))
def test_what_is_selected_is_what_would_be_left(layers: list[tuple[Added, Removed]]) -> None:
    selected = set()
    for number, select in unpacking_order(["models"] * len(layers)):
        for entry in entries(*layers[number]):
            chosen = select(entry)
            if chosen is not None and chosen.type == "file":
                selected.add((chosen.name, number))
    assert selected == applied(layers)


def test_only_the_subtree_counts() -> None:
    ((_, select),) = unpacking_order(["models"])
    names = ["bin/sh", "models", "models/", "./models/a", "/models/b", "modelsx/c", "models/d/"]
    kept = [select(TarEntry(name, "directory" if name.endswith("/") else "file", 0, 0)) for name in names]
    assert [entry.name for entry in kept if entry] == ["a", "b", "d/"]


def test_archives_by_themselves_come_first_and_whole() -> None:
    order = list(unpacking_order(["", "models", "", "models"]))
    assert [number for number, _ in order] == [0, 2, 3, 1]
    assert order[0][1] is everything


def linked(target: str) -> TarEntry:
    return TarEntry("models/link", "hardlink", 0, 0o644, target)


def test_a_hard_link_to_what_a_later_layer_replaces_says_so() -> None:
    file, link = TarEntry("models/a", "file", 1, 0o644), linked("models/a")
    order = unpacking_order(["models", "models"])
    _, later = next(order)
    assert later(file) is not None
    _, earlier = next(order)
    assert earlier(file) is None
    with pytest.raises(InvalidTar, match=r"'models/link' leads to 'models/a', which a later layer replaces") as refused:
        earlier(link)
    assert "squashed" in refused.value.remedy


def test_a_hard_link_out_of_the_subtree_says_so() -> None:
    ((_, select),) = unpacking_order(["models"])
    with pytest.raises(InvalidTar, match=r"leads to 'data/a', which is not below /models/"):
        select(linked("data/a"))


def test_a_hidden_hard_link_may_lead_anywhere() -> None:
    order = unpacking_order(["models", "models"])
    _, later = next(order)
    assert later(TarEntry("models/link", "file", 0, 0)) is not None
    _, earlier = next(order)
    assert earlier(linked("data/a")) is None


def test_directories_are_bounded() -> None:
    ((_, select),) = unpacking_order(["models"])
    deep = "/d" * 480

    def lay() -> None:
        for number in range(MAX_DIRECTORIES // 480 + 1):
            select(TarEntry(f"models/{number}{deep}/file", "file", 0, 0o644))

    with pytest.raises(InvalidTar, match="more than 100000 directories"):
        lay()
