"""The operations whose every write is tried: what is on the disk before, what is done, and how people go on after."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from modeldist.agent.store import Evicted, Store
from modeldist.agent.store.atomic import sync_directory
from modeldist.agent.store.formats import FORMATS, Formats, Step
from modeldist.agent.store.places import Places
from modeldist.agent.store.reusing import Base, reuse
from modeldist.agent.store.watermarks import Watermarks
from modeldist.errors import IntegrityError
from modelpack.chunk_index import Cuts, average_for, cut
from tests.crash.models import PIECE, Model, Say, pull, receive
from tests.integration.store.made_models import KIB, artifact_of, content, part_of, shard_of

BIG = content(1024 * KIB + 64 * KIB + 7, seed=1)  # its name is synced, being larger than a mebibyte
CONFIG = b'{"model_type": "llama"}'
SMALL = content(3 * KIB, seed=2)
FORGED = bytes(PIECE)


def _archive() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in INSIDE:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


INSIDE = (("tokenizer/vocab.txt", b"a b c"), ("tokenizer/merges.txt", content(2 * KIB, seed=3)))


def _model(name: str, files: dict[str, bytes], **more: object) -> Model:
    return Model(artifact_of(files, repo_id=f"org/{name}", **more), files, f"org/{name}:main")  # type: ignore[arg-type]


MIXED = _model(
    "mixed",
    {"config.json": CONFIG, "weights/big.bin": BIG, "notes.txt": SMALL},
    kinds={"config.json": "git-sha1", "notes.txt": "etag"},
)
SMALLS = _model("smalls", {"config.json": CONFIG, "a/b/notes.txt": SMALL}, kinds={"config.json": "git-sha1"})
OTHER = _model("other", {"config.json": b"{}", "big.bin": BIG})
NEWER = Model(
    artifact_of({"config.json": b"{1}", "notes.txt": SMALL}, repo_id="org/smalls", revision="6" * 40),
    {"config.json": b"{1}", "notes.txt": SMALL},
    SMALLS.reference,
)
_WHOLE = artifact_of({"config.json": CONFIG, "big.bin": BIG}, repo_id="org/parts")
_FILES = {"config.json": CONFIG, "big.bin": BIG}


def _part(reference: str, *ranges: tuple[int, int]) -> Model:
    config, big = _WHOLE.files
    return Model(part_of(_WHOLE, config, msgspec.structs.replace(big, ranges=ranges)), _FILES, reference)


FIRST_PART = _part("org/parts:first", (0, 10), (2 * PIECE, 2 * PIECE + 5))
NEXT_PART = _part("org/parts:next", (PIECE, PIECE + 1))
ALL_PARTS = Model(_WHOLE, _FILES, "org/parts:all")
_TAR = _archive()
ARCHIVED = Model(
    artifact_of({"tokenizer.tar": _TAR, "config.json": CONFIG}, encodings={"tokenizer.tar": "tar"}, repo_id="org/tar"),
    {"tokenizer.tar": _TAR, "config.json": CONFIG},
    "org/tar:main",
    INSIDE,
)
_FINE_TUNED = BIG[: 3 * PIECE] + content(20 * KIB, seed=5) + BIG[3 * PIECE + 20 * KIB :]
TUNED = _model("tuned", {"big.bin": _FINE_TUNED})


@dataclass(frozen=True)
class Operation:
    """`models` may be here afterwards; `wanted` are pulled to the end after each crash. `damaged`: what was on the disk
    before is, and people have it verified and removed again before they look."""

    name: str
    before: Callable[[Path], None]
    do: Callable[[Path, Say, Callable[..., None]], None]
    models: tuple[Model, ...]
    wanted: tuple[Model, ...]
    damaged: bool = False
    formats: Formats = FORMATS


def _opened(do: Callable[[Store], object]) -> Callable[[Path], None]:
    def before(root: Path) -> None:
        store = Store.open(root)
        do(store)
        store.close()

    return before


def _nothing(_: object) -> None:
    pass


def _doing(do: Callable[[Store, Say, Say], object]) -> Callable[[Path, Say, Say], None]:
    def operation(root: Path, say: Say, unsay: Say) -> None:
        store = Store.open(root)
        do(store, say, unsay)
        store.close()

    return operation


def _pulls(*models: Model) -> Callable[[Store, Say, Say], None]:
    def do(store: Store, say: Say, unsay: Say) -> None:
        for model in models:
            pull(store, model, say)

    return do


def _pulled(*models: Model) -> Callable[[Path], None]:
    return _opened(lambda store: [pull(store, model) for model in models])


def _half(store: Store) -> None:
    """A pull that stopped: two pieces, in smaller ones than the next pull cuts."""
    with store.begin(shard_of(BIG), PIECE // 2) as partial:
        for piece in range(5):
            receive(partial, BIG, piece)


def _resume(store: Store, say: Say, unsay: Say) -> None:
    say("piece", shard_of(BIG).digest, PIECE, 0)
    say("piece", shard_of(BIG).digest, PIECE, 1)
    pull(store, OTHER, say)


def _wrong_content(store: Store, say: Say, unsay: Say) -> None:
    """A peer that lied about one piece: what was fetched is withdrawn, and fetched again."""
    shard = shard_of(BIG)
    with store.begin(shard, PIECE) as partial:
        for piece in partial.layout.all:
            receive(partial, FORGED * 5 if piece == 1 else BIG, piece)
        try:
            partial.commit()
        except IntegrityError:
            pass
        else:
            raise AssertionError("wrong content was published")
    pull(store, OTHER, say)


def _kept_only(store: Store, say: Say, unsay: Say) -> None:
    """A chunk table contradicts a piece."""
    with store.begin(shard_of(BIG), PIECE) as partial:
        for piece in partial.layout.all:
            receive(partial, FORGED * 5 if piece == 1 else BIG, piece)
        good = {piece: digest for piece, digest in partial.digests().items() if piece != 1}
        partial.keep_only(good)
    for piece in good:
        say("piece", shard_of(BIG).digest, PIECE, piece)
    pull(store, OTHER, say)


def _remove(store: Store, say: Say, unsay: Say) -> None:
    for model in (MIXED, OTHER):
        say("pinned" if model is OTHER else "recorded", model.reference, lasts=True)
    unsay("recorded", MIXED.reference)
    store.remove(MIXED.reference)
    say("gone", MIXED.reference, lasts=True)
    say("complete", shard_of(BIG).digest, lasts=True)


def _before_remove(store: Store) -> None:
    pull(store, MIXED)
    pull(store, OTHER)
    store.pin(OTHER.reference)


def _pin(store: Store, say: Say, unsay: Say) -> None:
    store.pin(OTHER.reference)
    say("pinned", OTHER.reference, lasts=True)
    unsay("pinned")
    store.unpin(OTHER.reference)


def _unpin(store: Store, say: Say, unsay: Say) -> None:
    store.unpin(OTHER.reference)
    store.remove(OTHER.reference)
    say("gone", OTHER.reference, lasts=True)


def _pinned(store: Store) -> None:
    pull(store, OTHER)
    store.pin(OTHER.reference)


def _collect(store: Store, say: Say, unsay: Say) -> None:
    """Everything but what is pinned, and what a dead pull left."""
    say("pinned", OTHER.reference, lasts=True)
    say("ready", OTHER.reference)
    Store.open(store.root, clock=lambda: time.time() + 30 * 86_400).gc(max_age=1.0)


def _garbage(store: Store) -> None:
    pull(store, ARCHIVED)
    pull(store, FIRST_PART)
    _pinned(store)
    with store.begin(shard_of(SMALL * 500), PIECE) as partial:
        receive(partial, SMALL * 500, 0)
    store.put_bytes(b"an orphan")


def _damage(store: Store) -> None:
    pull(store, MIXED)
    pull(store, ARCHIVED)
    for data in (BIG, CONFIG, _TAR):
        path = store.path(shard_of(data).digest)
        assert path is not None
        path.chmod(0o644)
        path.write_bytes(bytes(len(data)))
        path.chmod(0o444)


def _withdraw(store: Store, say: Say, unsay: Say) -> None:
    store.remove_damaged(store.audit())
    for model in (MIXED, ARCHIVED):
        pull(store, model, say)


def _delta(store: Store, say: Say, unsay: Say) -> None:
    average = average_for(len(BIG))
    old, shard = shard_of(BIG), TUNED.artifact.shards[0]
    path = store.path(old.digest)
    assert path is not None
    with store.begin(shard, PIECE) as partial:
        trusted = {}
        for piece in partial.layout.all:
            start = partial.layout.offset(piece)
            trusted[piece] = _blake3(_FINE_TUNED[start : start + partial.layout.length(piece)])

        def cuts(_: float) -> Cuts | None:
            return store.cuts.find(old.digest, average, lambda: False)

        new = cut(memoryview(_FINE_TUNED), average)
        reuse(partial, partial.layout.all, trusted, new, [Base(path, cuts)], lambda: False)
        assert partial.have(), "some pieces did not change"
        for piece in partial.have():
            say("piece", shard.digest, PIECE, piece)
    pull(store, TUNED, say)


def _blake3(data: bytes) -> bytes:
    from blake3 import blake3

    return blake3(data).digest()


def _imports(store: Store, say: Say, unsay: Say) -> None:
    store.put_bytes(SMALL)
    scratch = store.root.parent / f"{store.root.name}.import"
    scratch.write_bytes(BIG)
    try:
        store.import_file(scratch)
    finally:
        scratch.unlink()
    say("complete", shard_of(BIG).digest, lasts=True)
    pull(store, OTHER, say)


def _reset_parts(store: Store, say: Say, unsay: Say) -> None:
    """What a snapshot shows turned out to be wrong with the whole: it is fetched again."""
    with store.begin(shard_of(BIG), PIECE) as partial:
        unsay("piece")
        partial.reset(shown=True)
        for piece in (0, 1, 2):
            receive(partial, BIG, piece)
    pull(store, ALL_PARTS, say)


def _remove_part(store: Store, say: Say, unsay: Say) -> None:
    store.remove(FIRST_PART.reference)
    say("gone", FIRST_PART.reference, lasts=True)


def _crowd(store: Store) -> None:
    """The first of it is the least recently used."""
    for model in (ARCHIVED, FIRST_PART, SMALLS):
        pull(store, model)
    store.pin(SMALLS.reference)


def _evict(store: Store, say: Say, unsay: Say) -> None:
    """For a model that would be too much: all but what is pinned."""
    say("pinned", SMALLS.reference, lasts=True)
    say("ready", SMALLS.reference)
    shards = TUNED.artifact.shards
    coming = sum(shard.size for shard in shards)
    store.watermarks = Watermarks(coming + 200 * KIB, coming + 64 * KIB, of_disk=False)
    gone: list[Evicted] = []
    store.reserve_for(TUNED.artifact, shards, evicted=gone.append).release()
    assert [each.references for each in gone] == [(ARCHIVED.reference,), (FIRST_PART.reference,)]
    for model in (ARCHIVED, FIRST_PART):
        say("gone", model.reference, lasts=True)
    pull(store, TUNED, say)


def _scrub(store: Store, say: Say, unsay: Say) -> None:
    """A round that finds damage, and what brings it again."""
    scrubber = store.scrubber
    scrubber.begin()
    for target in scrubber.left():
        flaw, inode = scrubber.check(target, lambda _: None)
        if flaw is not None and inode is not None:
            scrubber.withdraw(target, inode)
        scrubber.passed(target, target.path.stat().st_size if flaw is None else 0, damaged=flaw is not None)
    scrubber.end()
    assert scrubber.round.damaged == 3
    models = (MIXED, ARCHIVED)
    assert set(scrubber.round.wanting) == {model.artifact.digest for model in models}
    for model in models:
        say("wanting", model.artifact.digest, lasts=True)
    for model in models:
        pull(store, model, say)
        unsay("wanting", model.artifact.digest)
        scrubber.mended(model.artifact.digest)


_SUFFIX = ".pin"


def _without_suffix(places: Places) -> None:
    for pin in places.pins.glob(f"*{_SUFFIX}"):
        pin.rename(pin.with_suffix(""))
    sync_directory(places.pins)


NEXT_FORMAT = Formats(2, (Step(1, "pins have no suffix any more", _without_suffix),))


def _older(store: Store) -> None:
    """As a program would have left it that knew pins by another name."""
    _before_remove(store)
    for pin in store.root.joinpath("pins").iterdir():
        pin.rename(pin.with_name(pin.name + _SUFFIX))


def _migrate(root: Path, say: Say, unsay: Say) -> None:
    say("pinned", OTHER.reference, lasts=True)
    say("ready", MIXED.reference)
    said: list[str] = []
    store = Store.open(root, formats=NEXT_FORMAT, tell=said.append)
    assert "pins have no suffix any more" in said[0]
    store.close()


OPERATIONS = (
    Operation("first use", _nothing, _doing(_pulls(SMALLS)), (SMALLS,), (SMALLS,)),
    Operation("pull", _opened(_nothing), _doing(_pulls(MIXED)), (MIXED,), (MIXED,)),
    Operation("resume", _opened(_half), _doing(_resume), (OTHER,), (OTHER,)),
    Operation("wrong content", _opened(_nothing), _doing(_wrong_content), (OTHER,), (OTHER,)),
    Operation("contradicted piece", _opened(_nothing), _doing(_kept_only), (OTHER,), (OTHER,)),
    Operation("small shards", _opened(_nothing), _doing(_pulls(SMALLS)), (SMALLS,), (SMALLS,)),
    Operation("new revision", _pulled(SMALLS), _doing(_pulls(NEWER)), (SMALLS, NEWER), (NEWER,)),
    Operation("import", _opened(_nothing), _doing(_imports), (OTHER,), (OTHER,)),
    Operation("archive", _opened(_nothing), _doing(_pulls(ARCHIVED)), (ARCHIVED,), (ARCHIVED,)),
    Operation(
        "parts",
        _opened(_nothing),
        _doing(_pulls(FIRST_PART, NEXT_PART, ALL_PARTS)),
        (FIRST_PART, NEXT_PART, ALL_PARTS),
        (NEXT_PART, ALL_PARTS),
    ),
    Operation("parts refetched", _pulled(FIRST_PART), _doing(_reset_parts), (FIRST_PART, ALL_PARTS), (FIRST_PART,)),
    Operation("remove", _opened(_before_remove), _doing(_remove), (MIXED, OTHER), (MIXED, OTHER)),
    Operation(
        "remove a part",
        _pulled(FIRST_PART),
        _doing(_remove_part),
        (FIRST_PART,),
        (FIRST_PART,),
    ),
    Operation("pin", _pulled(OTHER), _doing(_pin), (OTHER,), (OTHER,)),
    Operation("unpin and remove", _opened(_pinned), _doing(_unpin), (OTHER,), (OTHER,)),
    Operation("collect", _opened(_garbage), _doing(_collect), (ARCHIVED, FIRST_PART, OTHER), (ARCHIVED, OTHER)),
    Operation(
        "withdraw damage", _opened(_damage), _doing(_withdraw), (MIXED, ARCHIVED), (MIXED, ARCHIVED), damaged=True
    ),
    Operation("delta", _pulled(OTHER), _doing(_delta), (OTHER, TUNED), (TUNED,)),
    Operation("evict", _opened(_crowd), _doing(_evict), (ARCHIVED, FIRST_PART, SMALLS, TUNED), (TUNED, ARCHIVED)),
    Operation("scrub", _opened(_damage), _doing(_scrub), (MIXED, ARCHIVED), (MIXED, ARCHIVED), damaged=True),
    Operation("migrate", _opened(_older), _migrate, (MIXED, OTHER), (MIXED, OTHER), formats=NEXT_FORMAT),
)
