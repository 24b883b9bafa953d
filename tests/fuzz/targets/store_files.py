"""Files of a store that somebody else, or a dying disk, has written: what cannot be read counts as absent, or is an
error that names the store; never anything else.

The first byte of an input says which file of a store with one model it takes the place of.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

from modeldist.agent.past_pulls import PastPulls
from modeldist.agent.store import Store
from modeldist.agent.store.rounds import Round
from modeldist.artifact import Artifact, Digest
from modeldist.errors import ModeldistError
from modeldist.gateway.hub.kept import KeptAdmissions
from modeldist.logger import in_silence
from tests.fuzz.target import Target, json_words
from tests.refusals import check_sentence
from tests.servers.memory_origin import MemoryOrigin

REFERENCE = "memory://org/model:v1"
FILES = {"config.json": b"{}", "a/model.safetensors": bytes(range(256)) * 40}
AVERAGE = 8 * 1024


class House:
    """A store with a model in it, its files by the byte that names them, and what they hold when all is well."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="fuzz-store-"))
        atexit.register(shutil.rmtree, self.home, ignore_errors=True)
        self.root = self.home / "store"
        origin = MemoryOrigin()
        self.artifact: Artifact = origin.add(REFERENCE, FILES)
        self.shard = Digest(next(file.digest for file in self.artifact.files if file.path.startswith("a/")))
        with self._open() as store:
            for content in FILES.values():
                store.put_bytes(content)
            store.record(self.artifact, REFERENCE)
            self.snapshot = store.materialise(self.artifact)
            store.pin(REFERENCE)
            store.cuts.find(self.shard, AVERAGE, lambda: False)
        (self.root / "pulls").mkdir(exist_ok=True)
        repository = self.snapshot.parent.parent
        name = self.shard.partition(":")[2]
        found = {
            0: next((self.root / "artifacts").iterdir()),
            1: next((self.root / "refs").iterdir()),
            2: repository / "trees" / f"{self.artifact.revision}.json",
            3: repository / "selections" / f"{self.artifact.revision}.json",
            4: self.root / "scrub.json",
            5: self.root / "pieces" / name,
            6: self.root / "cuts" / name,
            7: self.root / "pulls" / "00000000000000000001-p.json",
            8: self.root / "hub-admissions.json",
            9: self.root / "VERSION",
            10: self.root / "node-id",
        }
        self.paths = found
        self.well = {kind: path.read_bytes() if path.exists() else None for kind, path in found.items()}

    def _open(self) -> _Opened:
        return _Opened(Store.open(self.root, hub=self.home / "hub"))

    def look(self) -> None:
        """All that reads these files."""
        with self._open() as store:
            store.artifacts()
            if (found := store.lookup(REFERENCE)) is not None:
                store.snapshot(found)
                assert store.missing_bytes(found) >= 0
            store.artifact(self.artifact.digest)
            store.known()
            store.snapshot(self.artifact)
            store.holds(self.artifact)
            store.checked(REFERENCE)
            store.piece_digests(self.shard)
            store.cuts.get(self.shard, AVERAGE)
            assert store.scrubber.round is not None
            store.gc(dry_run=True)
            if (opened := store.directory().open(self.shard)) is not None:
                opened.have()
                opened.close()
        PastPulls(self.root).find("p")
        KeptAdmissions(self.root / "hub-admissions.json", time.time).get("org/model", "main", "")


class _Opened:
    """Closes it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Store:
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()


@cache
def house() -> House:
    return House()


def seeds() -> Iterator[bytes]:
    here = house()
    for kind, content in here.well.items():
        if content is not None:
            yield bytes([kind]) + content
    yield b"\x03" + msgspec.json.encode(
        {
            "format_version": 1,
            "artifact": here.artifact.digest,
            "files": {"config.json": {"size": 2, "ranges": [[0, 1]]}},
        }
    )
    yield b"\x04" + msgspec.json.encode(Round(5.0, 6.0, here.shard, 1, 2, 0, (here.artifact.digest,)))
    yield b"\x05" + (4096).to_bytes(8, "little") + bytes(96)
    yield b'\x07{"pull":"p"}'
    yield b'\x08{"key":"' + b"A" * 43 + b'=","said":{"x":{"main":["' + b"c" * 40 + b'",true,5.0]}}}'


def check(data: bytes) -> None:
    here = house()
    kind = data[0] % len(here.paths) if data else 0
    path, well = here.paths[kind], here.well[kind]
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a name of what else is kept
    path.write_bytes(data[1:])
    try:
        with in_silence():
            here.look()
    except ModeldistError as error:
        check_sentence(error.message)
    finally:
        path.unlink(missing_ok=True)
        if well is not None:
            path.write_bytes(well)


WORDS = json_words(
    "artifact files path digest size snapshots hub repo_id revision reference format_version ranges began ended after "
    "shards wanting key said pull state sha256:" + "ab" * 32 + " ../../x 1970"
)
TARGET = Target("store_files", check, seeds, WORDS, longest=1500, beside=True)
