"""Selections and the files they choose."""

from __future__ import annotations

from typing import NoReturn

import pytest

from modelpack.errors import InvalidSelection
from modelpack.plan.files import ListedFile, listed_names
from modelpack.plan.planning import plan_fetch, plan_files
from modelpack.plan.rank import Rank, Slot
from modelpack.plan.selection import Selection

NAMES = (
    "README.md",
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "original/consolidated.00.pth",
    "original/params.json",
    "tokenizer.json",
)


def listed(*names: str) -> tuple[ListedFile, ...]:
    return listed_names((name, f"sha256:{number:064x}", 1000 + number) for number, name in enumerate(names))


def chosen(selection: Selection, *names: str) -> list[str]:
    return [file.path for file in plan_files(listed(*(names or NAMES)), selection).files]


def test_weights_in_archives_are_taken_whole_and_that_is_said() -> None:
    files = (*listed("config.json"), ListedFile("weights", "sha256:" + "f" * 64, 9, "weight", "tar"))

    def nothing(file: ListedFile) -> NoReturn:
        raise AssertionError(f"{file.path} was read")

    made = plan_fetch(files, Selection.of(rank="tp=0/2"), nothing)
    assert made.needed == made.size and "weights" in made.notes[-1]


def test_a_selection_has_one_text() -> None:
    one = Selection.of(only=["b/**", "*.json", "b/**"], kinds=["weight"], rank="pp=1/2, tp=0/4", weights="all")
    assert str(one) == "only=*.json&only=b/**&kind=weight&rank=tp=0/4,pp=1/2&weights=all"
    assert Selection.parse("weights=all&rank=pp=1/2,tp=0/4&kind=weight&only=b/**&only=%2A.json") == one
    assert Selection.parse(str(odd := Selection.of(only=["a b&c#d%\\[e]"]))) == odd
    assert not Selection() and str(Selection()) == ""


def test_a_rank_says_its_place_in_each_group() -> None:
    assert Rank.parse("tp=0/4,pp=1/2,ep=3/8") == Rank(Slot(0, 4), Slot(1, 2), Slot(3, 8))
    assert not Rank.parse("tp=0/1")  # nothing is shared


@pytest.mark.parametrize("text", ["tp", "tp=4/4", "tp=0/0", "tp=0/4,tp=1/4", "dp=0/2", "tp=-1/4", "tp=0/99999999", ","])
def test_what_is_no_rank_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidSelection, match="rank"):
        Rank.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tp=0/1000000000", "a group has 1 to 65536 ranks, not 1000000000"),
        ("pp=0/0", "a group has 1 to 65536 ranks, not 0"),
        ("ep=1000000000/8", "of 8 ranks the first is 0 and the last 7"),
        (f"tp=0/{10**40}", "is no place in a group"),
    ],
)
def test_a_rank_of_absurd_numbers_says_what_is_wrong_with_them(text: str, says: str) -> None:
    with pytest.raises(InvalidSelection, match=says):
        Rank.parse(text)


@pytest.mark.parametrize(
    "text", ["only", "colour=red", "kind=paint", "weights=some", "rank=tp=0/2&rank=tp=0/2", "only=[a"]
)
def test_what_is_no_selection_is_refused(text: str) -> None:
    with pytest.raises(InvalidSelection):
        Selection.parse(text)


def test_by_pattern_kind_and_both() -> None:
    assert chosen(Selection.of(only=["*.json"])) == ["config.json", "model.safetensors.index.json", "tokenizer.json"]
    assert "original/params.json" in chosen(Selection.of(only=["**/*.json"]))
    assert chosen(Selection.of(kinds=["doc"])) == ["README.md"]
    assert chosen(Selection.of(kinds=["weight.config"], exclude=["tok*", "original/**", "*.index.json"])) == [
        "config.json"
    ]


def test_never_the_same_weights_twice_unless_asked() -> None:
    usual = plan_files(listed(*NAMES), Selection())
    assert "original/consolidated.00.pth" not in [file.path for file in usual.files]
    assert "original/consolidated.00.pth" in usual.notes[0]
    assert usual.needed == usual.size - 1005
    both = chosen(Selection.of(weights="all"))
    assert both == list(NAMES)
    consolidated = chosen(Selection.of(weights="consolidated"))
    assert "original/consolidated.00.pth" in consolidated
    assert not any(name.startswith("model-0") for name in consolidated)


def test_weights_that_are_there_once_are_never_left_out() -> None:
    names = ("config.json", "consolidated.safetensors", "tekken.json")
    assert chosen(Selection(), *names) == list(names)
    assert chosen(Selection.of(only=["original/**"])) == ["original/consolidated.00.pth", "original/params.json"]
    plan = plan_files(listed(*names), Selection.of(weights="sharded"))
    assert len(plan.files) == 3 and "no sharded weights" in plan.notes[0]


def test_of_sharded_state_only_the_files_of_the_rank() -> None:
    names = ("config.json", *(f"model-rank-{rank}-part-{part}.safetensors" for rank in range(4) for part in range(2)))
    assert chosen(Selection.of(rank="tp=2/4"), *names) == [
        "config.json",
        "model-rank-2-part-0.safetensors",
        "model-rank-2-part-1.safetensors",
    ]
    with pytest.raises(InvalidSelection, match="for 4 ranks of tensor parallelism, not for 8"):
        chosen(Selection.of(rank="tp=2/8"), *names)
    assert chosen(Selection.of(rank="tp=0/1"), *names) == list(names)


def test_a_selection_that_leaves_nothing_is_an_error_that_lists_files() -> None:
    with pytest.raises(InvalidSelection, match=r"only=\*\.gguf leaves nothing of the model's 8 files") as caught:
        chosen(Selection.of(only=["*.gguf"]))
    assert "README.md" in caught.value.remedy


def test_archives_that_patterns_cannot_see_into_are_spoken_of() -> None:
    files = (*listed("config.json"), ListedFile("weights", "sha256:" + "f" * 64, 9, "weight", "tar"))
    plan = plan_files(files, Selection.of(only=["*.json"]))
    assert [file.path for file in plan.files] == ["config.json"]
    assert "weights" in plan.notes[0]
    assert len(plan_files(files, Selection.of(only=["weights"])).files) == 1
