"""Snapshots in the Hugging Face cache layout.

    <hub>/models--<namespace>--<name>/
        blobs/<git-sha1 or sha256>      the store's blobs, linked
        snapshots/<revision>/<path>     the same, under the artifact's names
        trees/<revision>.json           the complete list of files
        selections/<revision>.json      which files of it have holes, where only ranges of them were selected
        refs/<tag>                      the revision, written last

A new snapshot is built aside and renamed, so it is there whole or not at all; a damaged one is repaired file by file,
because it may hold files of others. Everything that changes names holds the locks huggingface_hub would hold.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.agent.store import selections, trees
from modeldist.agent.store.atomic import sync_directory, sync_tree, unique, write_atomically
from modeldist.agent.store.blobs import Blobs
from modeldist.agent.store.claims import Claims
from modeldist.agent.store.failures import naming
from modeldist.agent.store.linking import link, link_new
from modeldist.agent.store.live import Reservation
from modeldist.agent.store.locks import FileLock, lock
from modeldist.agent.store.selections import SparseFile
from modeldist.agent.store.unpacking import check_names, check_tag, linked, unpack
from modeldist.artifact import Artifact, ArtifactFile, Digest, algorithm
from modeldist.errors import UNDECODABLE, IntegrityError, StorageError, UnsafeArtifact
from modelpack.names import NameSet

if TYPE_CHECKING:
    from modeldist.agent.store.sparse_shards import SparseShard

_REPO_ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)
_REVISION = re.compile(r"[0-9a-f]{40}")
_CACHEDIR_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# A cache directory: https://bford.info/cachedir/\n"
_LOCK_MODE = 0o664  # as huggingface_hub, so that users of one cache can wait for each other


class _BecameWhole(Exception):
    """A file of which ranges were here is a blob now: another pull has brought the rest in this moment."""


class Repository:
    """The folder of one repository in one hub directory."""

    def __init__(self, hub: Path, repo_id: str) -> None:
        if not _REPO_ID.fullmatch(repo_id) or ".." in repo_id:
            raise UnsafeArtifact(f"{repo_id!r} cannot name a repository in a Hugging Face cache.")
        name = "models--" + repo_id.replace("/", "--")
        self.hub = hub
        self.folder = hub / name
        self.locks = hub / ".locks" / name
        self.blobs = self.folder / "blobs"
        self.snapshots = self.folder / "snapshots"
        self.refs = self.folder / "refs"
        self.building = self.folder / ".building"

    def snapshot(self, revision: str) -> Path:
        if not _REVISION.fullmatch(revision):
            raise UnsafeArtifact(f"{revision!r} is not a revision (40 hexadecimal digits).")
        return self.snapshots / revision

    def tree(self, revision: str) -> Path:
        return self.folder / "trees" / f"{revision}.json"

    def selection(self, revision: str) -> Path:
        return self.folder / "selections" / f"{revision}.json"

    def lock(self, name: str) -> FileLock:
        return lock(self.locks / f"{name}.lock", mode=_LOCK_MODE)

    def lock_snapshot(self, revision: str) -> FileLock:
        return self.lock(f"{revision}.snapshot")


class Hub:
    """One hub directory fed from one store. Thread-safe and safe between processes. `sparse` finds what the store has
    of a shard that is no blob."""

    def __init__(
        self,
        root: Path,
        blobs: Blobs,
        sparse: Callable[[Digest], SparseShard | None],
        reserve: Callable[[int], Reservation],
    ) -> None:
        self.root = root
        self._blobs = blobs
        self._sparse = sparse
        self._reserve = reserve

    def complete(self, artifact: Artifact) -> Path | None:
        """The snapshot if every file is there with its size, and no hole in what is wanted of it. One stat call per
        file."""
        repository = Repository(self.root, artifact.repo_id)
        folder = repository.snapshot(artifact.revision)
        holes = self._with_holes(repository, artifact)
        if holes is None or any(_lacks(holes, file) for file in artifact.files):
            return None
        wanted = {file.path: file.size for file in artifact.files if file.encoding == "raw"}
        if len(wanted) < len(artifact.files):
            tree = trees.read(repository.tree(artifact.revision))
            if tree is None:
                return None
            wanted.update((path, file.size) for path, file in tree.items())
        return folder if _all_there(folder, wanted) else None

    @staticmethod
    def _with_holes(repository: Repository, artifact: Artifact) -> Mapping[str, SparseFile] | None:
        """The sparse files of a snapshot; None where that is not to be found out."""
        try:
            return selections.read(repository.selection(artifact.revision))
        except (OSError, *UNDECODABLE):
            return None

    def check_place(self, artifact: Artifact) -> None:
        """That its snapshot can have a place. Raises UnsafeArtifact."""
        Repository(self.root, artifact.repo_id).snapshot(artifact.revision)

    def materialise(self, artifact: Artifact) -> Path:
        """Make the snapshot of an artifact whose shards are complete, or as complete as its files' `ranges` want them,
        or add to what was selected of it before. Idempotent.

        Raises UnsafeArtifact (names, archives), NotEnoughSpace (archives), StorageError.
        """
        repository = Repository(self.root, artifact.repo_id)
        folder = repository.snapshot(artifact.revision)
        names = check_names(artifact)
        self._check_sizes(artifact)
        with naming("make a snapshot", folder):
            self._prepare(repository)
            with repository.lock_snapshot(artifact.revision):
                if self.complete(artifact) is None:
                    while not self._made(artifact, names, repository, folder):
                        pass
                self._write_ref(artifact, repository)
        return folder

    def _check_sizes(self, artifact: Artifact) -> None:
        """A manifest may say anything of content that came here under another one."""
        for file in artifact.files:
            size = self._blobs.size(file.digest)
            if size not in (None, file.size):
                raise IntegrityError(
                    f"{file.path} of {artifact.name}: the manifest says {file.size} bytes, and the store's copy of "
                    f"{file.digest} has {size}.",
                    remedy="The manifest is wrong (tell its publisher), or the copy is damaged (`modeldist verify "
                    "--remove`, then pull again).",
                )

    def is_named(self, artifact: Artifact) -> bool:
        """Whether the artifact's tag, if it has one, names its revision."""
        if not _is_tag(artifact):
            return True
        try:
            return self._ref(artifact).read_bytes() == artifact.revision.encode()
        except OSError:
            return False

    def name(self, artifact: Artifact) -> None:
        """Have the artifact's tag name its revision. Raises StorageError, UnsafeArtifact."""
        repository = Repository(self.root, artifact.repo_id)
        with naming("name a snapshot", repository.folder):
            self._prepare(repository)
            with repository.lock_snapshot(artifact.revision):
                self._write_ref(artifact, repository)

    def _ref(self, artifact: Artifact) -> Path:
        check_tag(artifact)
        return Repository(self.root, artifact.repo_id).refs / artifact.tag

    def _prepare(self, repository: Repository) -> None:
        for folder in (repository.locks, repository.blobs, repository.snapshots, repository.building):
            folder.mkdir(parents=True, exist_ok=True)
        tag = self.root / "CACHEDIR.TAG"
        if not tag.exists():
            write_atomically(tag, _CACHEDIR_TAG, tmp=repository.building, mode=0o644)

    def _made(self, artifact: Artifact, names: NameSet, repository: Repository, folder: Path) -> bool:
        """False where one more file has become whole meanwhile."""
        try:
            self._make(artifact, names, repository, folder)
        except _BecameWhole:
            return False
        return True

    def _make(self, artifact: Artifact, names: NameSet, repository: Repository, folder: Path) -> None:
        for left in repository.building.glob(f"{artifact.revision}.*"):
            shutil.rmtree(left, ignore_errors=True)  # of a process that died: we hold the lock
        scratch = repository.building / f"{artifact.revision}.{unique()}"
        scratch.mkdir()
        there = folder.exists()
        try:
            contents = scratch / "files"
            sparse = self._sparse_files(artifact)
            before = self._with_holes(repository, artifact)
            holes = {**(before or {}), **{path: found.as_file() for path, found in sparse.items()}}
            self._write_selection(artifact, repository, holes)  # before there is a hole that somebody may meet
            self._blobs.keep_aliases(file.digest for file in artifact.files)  # by which rm finds the hub's names
            with Claims(self._reserve) as claims:
                unpacked = unpack(artifact, names, self._blobs, contents, claims.claim)
            tree = unpacked.files
            for file in artifact.files:
                if (found := sparse.get(file.path)) is not None:
                    try:
                        found.link(contents / file.path, scratch / "sparse")
                    except FileNotFoundError:
                        if self._blobs.file(file.digest) is not None:
                            raise _BecameWhole from None
                        raise
                    tree[file.path] = trees.entry(file.digest, file.size)
                elif file.encoding == "raw":
                    blob, name = self._blob(file.digest), hub_name(self._blobs, file.digest)
                    self._link_blob(blob, name, file.size, repository, scratch)
                    kind = "git-sha1" if algorithm(file.digest) == "git-sha1" else "sha256"
                    tree[file.path] = trees.entry(Digest(f"{kind}:{name}"), file.size)
                    if not (there and _has(folder / file.path, file.size) and _whole(folder, file.path, blob, before)):
                        _link_file(blob, file.path, name, contents, scratch)
            tree |= linked(contents, unpacked.links, tree)
            whole = {file.path for file in artifact.files} - sparse.keys()
            holes = {path: file for path, file in holes.items() if path not in whole}
            if holes and selections.MARKER not in tree:
                (contents / selections.MARKER).write_bytes(selections.encode(artifact.digest, holes))
            sync_tree(contents)  # a snapshot's name must not be on the disk before its files' names
            sync_directory(repository.blobs)
            sync_directory(repository.folder)
            if there:
                _repair(folder, contents)
                sync_tree(folder)
            else:
                contents.rename(folder)
            sync_directory(repository.snapshots)
            self._write_selection(artifact, repository, holes)
            if not holes and selections.MARKER not in tree:
                (folder / selections.MARKER).unlink(missing_ok=True)
            self._write_tree(artifact, repository, tree)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _sparse_files(self, artifact: Artifact) -> dict[str, SparseShard]:
        """By path: what is here of files of which only ranges are wanted, unless all of it is."""
        found: dict[str, SparseShard] = {}
        for file in artifact.files:
            if not file.ranges or self._blobs.file(file.digest) is not None:
                continue
            sparse = self._sparse(file.digest)
            if sparse is None or sparse.layout.size != file.size or not sparse.covers(file.ranges):
                if self._blobs.file(file.digest) is not None:  # another pull has brought the rest
                    continue
                raise StorageError(
                    f"{file.path}: not all bytes that were selected of {file.digest} are in the store.",
                    remedy="Pull the artifact again.",
                )
            found[file.path] = sparse
        return found

    @staticmethod
    def _write_selection(artifact: Artifact, repository: Repository, holes: Mapping[str, SparseFile]) -> None:
        path = repository.selection(artifact.revision)
        if holes:
            path.parent.mkdir(exist_ok=True)
            text = selections.encode(artifact.digest, holes)
            write_atomically(path, text, tmp=repository.building, mode=0o644, durable=True)
        else:
            path.unlink(missing_ok=True)

    @staticmethod
    def _link_blob(blob: str, name: str, size: int, repository: Repository, scratch: Path) -> None:
        """Put the blob under its name in the hub."""
        target = f"{repository.blobs}/{name}"
        if not link_new(blob, target) and not _has(target, size):
            with repository.lock(name):
                link(Path(blob), Path(target), symlink_to=blob, scratch=scratch / "blob")

    def _blob(self, digest: Digest) -> str:
        blob = self._blobs.file(digest)
        if blob is None:
            raise StorageError(f"{digest} is not complete in the store.", remedy="Pull the artifact again.")
        return blob

    def _write_tree(self, artifact: Artifact, repository: Repository, tree: Mapping[str, trees.TreeFile]) -> None:
        path = repository.tree(artifact.revision)
        there = trees.read(path) or {}
        plain = all(file.encoding == "raw" for file in artifact.files)
        if plain and all(name in there and there[name].size == file.size for name, file in tree.items()):
            return  # huggingface_hub's own, which may say more
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, trees.encode(tree), tmp=repository.building, mode=0o644, whole=True)

    def _write_ref(self, artifact: Artifact, repository: Repository) -> None:
        if self.is_named(artifact):
            return
        path = self._ref(artifact)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, artifact.revision.encode(), tmp=repository.building, mode=0o644, whole=True)


def _is_tag(artifact: Artifact) -> bool:
    """A version by content needs no name."""
    return artifact.tag not in ("", artifact.revision, artifact.digest) and ":" not in artifact.tag


def hub_name(blobs: Blobs, digest: Digest) -> str:
    """What a blob is called in the hub: its git-sha1 or sha256, as on the origin; for an etag, the sha256 found."""
    content = blobs.sha256(digest) if algorithm(digest) == "etag" else digest
    return (content or digest).partition(":")[2]


def _has(path: Path | str, size: int) -> bool:
    try:
        return os.stat(path).st_size == size  # noqa: PTH116 - hot: no Path is made per file
    except OSError:
        return False


def _lacks(holes: Mapping[str, SparseFile], file: ArtifactFile) -> bool:
    """Whether there is a hole in what is wanted of a file."""
    return file.path in holes and not holes[file.path].covers(file.ranges)


def _whole(folder: Path, path: str, blob: str, holes: Mapping[str, SparseFile] | None) -> bool:
    """Whether a file of a snapshot is no sparse one, or has become whole with the blob that it is a name of."""
    return (holes is not None and path not in holes) or (folder / path).samefile(blob)


def _all_there(folder: Path, wanted: Mapping[str, int]) -> bool:
    prefix = f"{folder}/"
    return folder.is_dir() and all(_has(prefix + path, size) for path, size in wanted.items())


def _link_file(blob: str, path: str, name: str, contents: Path, scratch: Path) -> None:
    """Put the blob at `path` below `contents`, where nothing is yet."""
    target = f"{contents}/{path}"
    if "/" in path:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    if not link_new(blob, target):
        up = "../" * (2 + path.count("/"))
        link(Path(blob), Path(target), symlink_to=f"{up}blobs/{name}", scratch=scratch / "file")


def _repair(folder: Path, contents: Path) -> None:
    """Move the new files over the damaged ones, each at once, and never through a link out of the snapshot."""
    for place, folders, names in os.walk(contents):
        inner = Path(place).relative_to(contents)
        target = folder / inner
        if inner.parts and target.is_symlink():
            target.unlink()
        target.mkdir(parents=True, exist_ok=True)
        for name in (*names, *(name for name in folders if Path(place, name).is_symlink())):
            (Path(place) / name).replace(target / name)
