"""Where things are under the store's root.

VERSION                        store format, so that an older program refuses a newer store
node-id                        this node's stable name
agent.lock                     flocked by the agent that works with this store
blobs/sha256/ab/<hex>          complete shards, read-only
aliases/<algorithm>/<value>    text: the sha256 digest a git-sha1 or etag digest turned out to be
pieces/<hex>                   piece digests of the complete shard with that sha256
cuts/<hex>                     where the content of the complete shard with that sha256 may be cut
partial/<algorithm>-<value>/   data, journal, lock of a shard being fetched
artifacts/<algorithm>-<hex>.json   an artifact and its snapshots; the file's mtime is when it was last used
refs/<quoted reference>        which artifact a reference meant; the file's mtime is when that was last checked
pins/<quoted reference>        references the collector leaves alone
live/                          flocked files: leases and reservations of running processes, the collector's gate
pulls/                         what ended pulls without an agent tell (agent.past_pulls)
hub/                           Hugging Face cache (may be elsewhere)
mounts/                        what mounts keep (mount.place)
access/<hex>.json              in which order artifacts were read through mounts (mount.access_order)
scrub.json                     how far the reading again of everything is (scrubbing)
tmp/                           files before their rename
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from modeldist.artifact import Digest

FORMAT = 1
_LONGEST_NAME = 200  # of the 255 bytes a filesystem allows


@dataclass(frozen=True)
class Places:
    """Paths under one root; touches no disk."""

    root: Path

    @cached_property
    def version(self) -> Path:
        return self.root / "VERSION"

    @cached_property
    def node_id(self) -> Path:
        return self.root / "node-id"

    @cached_property
    def blobs(self) -> Path:
        return self.root / "blobs" / "sha256"

    @cached_property
    def aliases(self) -> Path:
        return self.root / "aliases"

    @cached_property
    def partials(self) -> Path:
        return self.root / "partial"

    @cached_property
    def piece_tables(self) -> Path:
        return self.root / "pieces"

    @cached_property
    def cuts_folder(self) -> Path:
        return self.root / "cuts"

    @cached_property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @cached_property
    def refs(self) -> Path:
        return self.root / "refs"

    @cached_property
    def pins(self) -> Path:
        return self.root / "pins"

    @cached_property
    def mounts(self) -> Path:
        return self.root / "mounts"

    @cached_property
    def scrub(self) -> Path:
        return self.root / "scrub.json"

    @cached_property
    def live(self) -> Path:
        return self.root / "live"

    @cached_property
    def tmp(self) -> Path:
        return self.root / "tmp"

    def folders(self) -> tuple[Path, ...]:
        """Every folder that must exist, parents first."""
        aliases = (self.aliases, self.aliases / "git-sha1", self.aliases / "etag")
        return (
            self.blobs,
            *aliases,
            self.piece_tables,
            self.cuts_folder,
            self.partials,
            self.artifacts,
            self.refs,
            self.pins,
            self.live,
            self.tmp,
        )

    def blob(self, digest: Digest) -> Path:
        """Where the content of a `sha256:` digest is."""
        return Path(self.blob_file(digest))

    def blob_file(self, digest: Digest) -> str:
        """As text: a Path takes longer to make than a small file to open, and this is asked of every shard."""
        value = digest.partition(":")[2]
        return f"{self._blobs_text}/{value[:2]}/{value}"

    def alias(self, digest: Digest) -> Path:
        return Path(self.alias_file(digest))

    def alias_file(self, digest: Digest) -> str:
        """As text, like `blob_file`."""
        kind, _, value = digest.partition(":")
        return f"{self._aliases_text}/{kind}/{value}"

    def partial_folder(self, digest: Digest) -> str:
        """As text, like `blob_file`."""
        return f"{self._partials_text}/{digest.replace(':', '-')}"

    @cached_property
    def _blobs_text(self) -> str:
        return str(self.blobs)

    @cached_property
    def _aliases_text(self) -> str:
        return str(self.aliases)

    @cached_property
    def _partials_text(self) -> str:
        return str(self.partials)

    def piece_table(self, digest: Digest) -> Path:
        return self.piece_tables / digest.partition(":")[2]

    def cuts(self, digest: Digest) -> Path:
        return self.cuts_folder / digest.partition(":")[2]

    def partial(self, digest: Digest) -> Path:
        return Path(self.partial_folder(digest))

    def artifact(self, digest: Digest) -> Path:
        return self.artifacts / f"{digest.replace(':', '-')}.json"

    def reference(self, reference: str) -> Path:
        return self.refs / file_name(reference)

    def pin(self, reference: str) -> Path:
        return self.pins / file_name(reference)


def file_name(reference: str) -> str:
    """A file name for `reference`: percent-quoted, and cut and made unique by a hash where that grows too long."""
    name = quote(reference, safe="")
    if name in ("", ".", ".."):
        name = "%" + name
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:120]}~{hashlib.sha256(reference.encode()).hexdigest()}"
