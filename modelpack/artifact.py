"""A model in a registry, whatever tool pushed it: its files, its config, and how it departs from ModelPack.

    manifest + config bytes --read_artifact--> ModelArtifact

`modelpack.dialects` holds one reader per format; this file holds what they have in common.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from modelpack.config import ModelConfig
from modelpack.deviations import Deviation, Deviations, Mode
from modelpack.digests import digest_of
from modelpack.errors import DigestMismatch, SizeMismatch, UnsupportedArtifact
from modelpack.manifest import Descriptor, Manifest
from modelpack.mediatypes import Encoding, LayerKind
from modelpack.names import NameSet, check_name

Dialect = Literal["cncf", "cnai", "docker-v0.1", "docker-v0.2", "kitops", "ollama", "image", "oras"]


class FileMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the packer noted about a file. Nothing here is to be trusted: `size` in bytes, `mtime` RFC 3339."""

    name: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: str = ""
    typeflag: int = 0


class ModelFile(msgspec.Struct, frozen=True):
    """One layer as the file it becomes or, when `encoding` is a tar, the archive of files it unpacks to.

    `path` is relative, `/`-separated and checked together with all others; for a tar it is only a label.
    `subtree`, of a container image's layer, is the directory that alone counts (see `modelpack.imagelayers`).
    """

    path: str
    descriptor: Descriptor
    kind: LayerKind
    encoding: Encoding = "raw"
    metadata: FileMetadata | None = None
    subtree: str = ""

    @property
    def executable(self) -> bool:
        return self.metadata is not None and bool(self.metadata.mode & 0o100)


class ModelArtifact(msgspec.Struct, frozen=True):
    """A readable model. `config` is None where the artifact has none that says anything."""

    dialect: Dialect
    files: tuple[ModelFile, ...]
    config: ModelConfig | None
    deviations: tuple[Deviation, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers, each digest counted once."""
        return sum({file.descriptor.digest: file.descriptor.size for file in self.files}.values())


def read_artifact(manifest: Manifest, config: bytes, *, mode: Mode = "strict") -> ModelArtifact:
    """What `manifest` and the bytes of its config blob describe.

    Names that would harm, and bytes that are not the manifest's config, are refused in either mode; of what breaks
    the specification without harm, strict refuses and lenient reports. Raises UnsupportedArtifact for what is no
    model, and UnsafeName, InvalidManifest, InvalidConfig, DigestMismatch, SizeMismatch.
    """
    from modelpack.dialects import reader_of

    check_bytes(config, manifest.config, "config")
    reader = reader_of(manifest)
    if reader is None:
        what = manifest.artifact_type or manifest.config.media_type
        raise UnsupportedArtifact(
            f"The artifact is no model this program can read: its type is {what[:120]!r}.",
            remedy="ModelPack, Docker model, KitOps and Ollama artifacts and images with /models can be read.",
        )
    deviations = Deviations(mode)
    dialect, files, parsed = reader(manifest, config, deviations)
    if not files:
        raise UnsupportedArtifact("The artifact holds no files.", remedy="Ask its publisher to push it again.")
    files = tuple(msgspec.structs.replace(file, path=_path(number, file)) for number, file in enumerate(files))
    _check_paths(files)
    return ModelArtifact(dialect, files, parsed, deviations.found())


def check_bytes(data: bytes, descriptor: Descriptor, what: str) -> None:
    """Raises SizeMismatch or DigestMismatch when `data` is not what `descriptor` promises; `what` names it."""
    if len(data) != descriptor.size:
        raise SizeMismatch(
            f"The {what} {descriptor.digest} has {len(data)} bytes and its descriptor says {descriptor.size}."
        )
    if (actual := digest_of(data, descriptor.digest)) != descriptor.digest:
        raise DigestMismatch(f"The {what} {descriptor.digest} has the digest {actual}.")


def _path(number: int, file: ModelFile) -> str:
    """Without `./` in front. An archive may be called what it is unpacked into, such as `.` or `models/`."""
    path = file.path
    while path.startswith("./"):
        path = path[2:]
    if file.encoding != "raw" and path.rstrip("/") in ("", "."):
        return f"{file.kind}-{number}"
    return path if file.encoding == "raw" else path.rstrip("/")


def _check_paths(files: tuple[ModelFile, ...]) -> None:
    names = NameSet()
    for file in files:
        if file.encoding == "raw":
            names.add_file(file.path)
        else:
            check_name(file.path)
