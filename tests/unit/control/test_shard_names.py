"""What shards are called."""

from __future__ import annotations

from modeldist.artifact import Digest
from modeldist.control.store.shard_names import NamedArtifact, NamedFile, NamedIndex, ShardName, ShardNames


def digest(text: str) -> Digest:
    return Digest(f"sha256:{text}")


def model(name: str, *files: str, index: str = "") -> NamedArtifact:
    named = tuple(NamedFile(f"{file}.bin", digest(file), len(file)) for file in files)
    return NamedArtifact(digest(name), named, NamedIndex(digest(index)) if index else None)


def test_a_shard_is_called_by_its_model_and_file() -> None:
    names = ShardNames()
    names.learn("org/model:v1", model("m", "a", "b", index="i"))
    assert names.of(digest("b")) == ShardName(digest("m"), "org/model:v1", "b.bin")
    assert names.of(digest("i")) == ShardName(digest("m"), "org/model:v1", None)
    assert names.of(digest("c")) is None


def test_the_first_of_files_with_the_same_content() -> None:
    names = ShardNames()
    files = tuple(NamedFile(path, digest("a"), 1) for path in ("first", "second"))
    names.learn("org/model:v1", NamedArtifact(digest("m"), files))
    assert names.of(digest("a")) == ShardName(digest("m"), "org/model:v1", "first")


def test_of_two_models_the_one_that_was_asked_for_last() -> None:
    names = ShardNames()
    names.learn("org/model:v1", model("one", "a", "b"))
    names.learn("org/model:v2", model("two", "b", "c"))
    names.learn("org/model:v0", model("zero", "a", "b", "z"), before=True)

    def called(*shards: str) -> list[str]:
        return [name.reference for shard in shards if (name := names.of(digest(shard)))]

    assert called("a", "b", "c", "z") == ["org/model:v1", "org/model:v2", "org/model:v2", "org/model:v0"]
    assert names.asked("org/model:v1", digest("one"))
    assert called("a", "b", "c", "z") == ["org/model:v1", "org/model:v1", "org/model:v2", "org/model:v0"]
    assert not names.asked("org/model:v3", digest("three"))


def test_a_name_that_people_use_goes_before_a_digest() -> None:
    names = ShardNames()
    names.learn("org/model@sha256:0", model("m", "a"))
    for asked, called in (
        ("org/model:v1", "org/model:v1"),
        ("org/model@sha256:0", "org/model:v1"),
        ("org/model:latest", "org/model:latest"),
    ):
        assert names.asked(asked, digest("m"))
        assert names.of(digest("a")) == ShardName(digest("m"), called, "a.bin")


def test_what_is_known_is_bounded() -> None:
    names = ShardNames(most=10, of_one=4)
    names.learn("large", model("large", "1", "22", "333", "4444", "55555"))
    assert [bool(names.of(digest(file))) for file in ("1", "22", "333", "4444", "55555")] == [False, *[True] * 4]
    for number in range(10):
        names.learn(f"model-{number}", model(f"m{number}", f"{number}a", f"{number}b", "shared"))
    assert digest("large") not in names
    assert names.of(digest("22")) is None
    assert (names.of(digest("6a")), names.full) == (None, False)
    for file in ("7a", "9b", "shared"):
        assert names.of(digest(file)) is not None
    assert names.of(digest("shared")) == ShardName(digest("m9"), "model-9", "shared.bin")
