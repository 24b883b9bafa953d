"""Writing artifacts byte by byte, good and hostile: layers, configs, manifests, archives.

model = written("tiny", [raw("model.safetensors", weights)])
model.into_layout(tmp_path / "layout")       # an OciLayout that holds it as "tiny"
model.push(registry)                         # its reference, None where the registry refuses a manifest
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import zstandard

from modelpack.layout import OciLayout
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CNCF_ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
CNCF_CONFIG = "application/vnd.cncf.model.config.v1+json"
FILEPATH = "org.cncf.model.filepath"
METADATA = "org.cncf.model.file.metadata+json"
TITLE = "org.opencontainers.image.title"
REPOSITORY = "written/model"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Layer:
    """`members` are added to its descriptor, over what is true of `data`; `diff_id` of its uncompressed content."""

    media_type: str
    data: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)
    diff_id: str = ""

    def descriptor(self) -> dict[str, Any]:
        known = {"mediaType": self.media_type, "digest": sha256(self.data), "size": len(self.data)}
        return {**known, **({"annotations": dict(self.annotations)} if self.annotations else {}), **self.members}


def _notes(path: str, size: int) -> dict[str, str]:
    metadata = {
        "name": path.rpartition("/")[2],
        "mode": 0o644,
        "uid": 0,
        "gid": 0,
        "size": size,
        "mtime": "2025-01-01T00:00:00Z",
        "typeflag": 0,
    }
    return {FILEPATH: path, TITLE: path, METADATA: json.dumps(metadata)}


def raw(path: str, content: bytes, kind: str = "weight", **members: Any) -> Layer:
    """As a careful builder writes it. `members` go into the descriptor."""
    media_type = f"application/vnd.cncf.model.{kind}.v1.raw"
    return Layer(media_type, content, _notes(path, len(content)), members)


def packed(label: str, archive: bytes, kind: str = "weight", encoding: str = "tar") -> Layer:
    """An archive, compressed here."""
    data = {"tar": archive, "tar+gzip": zipped(archive), "tar+zstd": zstandard.compress(archive)}[encoding]
    media_type = f"application/vnd.cncf.model.{kind}.v1.{encoding}"
    return Layer(media_type, data, _notes(label, len(archive)), diff_id=sha256(archive))


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def tar(entries: Mapping[str, bytes | tarfile.TarInfo], **changes: Any) -> bytes:
    """An archive of files by name, or of entries as they are; `changes` are set on every entry."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else b""
            info.size = len(data)
            for attribute, value in changes.items():
                setattr(info, attribute, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def config_of(layers: Sequence[Layer], **members: Any) -> dict[str, Any]:
    """A model config that follows the schema, with other `members` of the whole over it."""
    described = {
        "descriptor": {"name": "tiny", "licenses": ["MIT"]},
        "config": {},
        "modelfs": {"type": "layers", "diffIds": [layer.diff_id or layer.descriptor()["digest"] for layer in layers]},
    }
    return {**described, **members}


@dataclass(frozen=True)
class Document:
    """A manifest or index, as bytes."""

    data: bytes
    media_type: str = OCI_MANIFEST

    def entry(self, **members: Any) -> dict[str, Any]:
        """Its descriptor, for an index."""
        known = {"mediaType": self.media_type, "digest": sha256(self.data), "size": len(self.data)}
        return {**known, **members}


@dataclass(frozen=True)
class Written:
    """What the tag `name` leads to: `blobs` by the digest they are stored under, then `documents`, the last of which is
    tagged."""

    name: str
    documents: tuple[Document, ...]
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        return sha256(self.documents[-1].data)

    def into_layout(self, path: Path) -> OciLayout:
        """The tagged document is not looked at on its way in, so that what is wrong with it stays."""
        layout = OciLayout.create(path)
        for digest, data in {**self.blobs, **{sha256(doc.data): doc.data for doc in self.documents}}.items():
            place = layout.blobs.path_of(digest)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        tagged = self.documents[-1].entry(annotations={"org.opencontainers.image.ref.name": self.name})
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [tagged]}
        (path / "index.json").write_text(json.dumps(index))
        return layout

    def push(self, registry: Registry) -> str | None:
        """To a real registry, which compares every digest with what it gets; None where it refuses something."""
        with httpx2.Client(base_url=f"{registry.url}/v2/{REPOSITORY}/") as client:
            for digest, data in self.blobs.items():
                session = httpx2.URL(client.post("blobs/uploads/").raise_for_status().headers["location"])
                if not client.put(session.copy_add_param("digest", digest), content=data).is_success:
                    return None
            for document in self.documents:
                tag = self.name if document is self.documents[-1] else sha256(document.data)
                headers = {"Content-Type": document.media_type}
                if not client.put(f"manifests/{tag}", content=document.data, headers=headers).is_success:
                    return None
        return f"{registry.host}/{REPOSITORY}:{self.name}"

    def serve(self, registry: FaultyRegistry) -> str:
        """In a registry that takes everything, also under digests that are not theirs."""
        for digest, data in self.blobs.items():
            registry.blobs[digest] = data
            registry.repositories.setdefault(REPOSITORY, set()).add(digest)
        for document in self.documents:
            tag = self.name if document is self.documents[-1] else None
            registry.add_manifest(REPOSITORY, tag, document.data, document.media_type)
        return f"{registry.host}/{REPOSITORY}:{self.name}"


def manifest_of(
    layers: Iterable[Layer], config: bytes, config_type: str = CNCF_CONFIG, **members: Any
) -> dict[str, Any]:
    """`members` over what is true; None leaves a member out."""
    known = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": CNCF_ARTIFACT,
        "config": {"mediaType": config_type, "digest": sha256(config), "size": len(config)},
        "layers": [layer.descriptor() for layer in layers],
    }
    return {key: value for key, value in {**known, **members}.items() if value is not None}


def written(
    name: str, layers: Sequence[Layer], *, config: Any = None, config_type: str = CNCF_CONFIG, **members: Any
) -> Written:
    """An artifact of one manifest. `config`: bytes, or an object instead of a correct model config."""
    content = (
        config if isinstance(config, bytes) else json.dumps(config_of(layers) if config is None else config).encode()
    )
    manifest = manifest_of(layers, content, config_type, **members)
    document = Document(json.dumps(manifest).encode(), str(manifest.get("mediaType", OCI_MANIFEST)))
    stored = {layer.descriptor()["digest"]: layer.data for layer in layers}
    return Written(name, (document,), {sha256(content): content, **stored})


def indexed(name: str, models: Sequence[tuple[Written, Mapping[str, Any]]], **members: Any) -> Written:
    """An index of manifests, each with further members of its descriptor."""
    entries = [{**model.documents[-1].entry(), **more} for model, more in models]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **members}
    documents = [document for model, _ in models for document in model.documents]
    blobs = {digest: data for model, _ in models for digest, data in model.blobs.items()}
    return Written(name, (*documents, Document(json.dumps(index).encode(), OCI_INDEX)), blobs)


def safetensors(
    tensors: Mapping[str, tuple[str, Sequence[int], bytes]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """A file of tensors: name -> (dtype, shape, bytes)."""
    header: dict[str, Any] = {"__metadata__": dict({"format": "pt"} if metadata is None else metadata)}
    start = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, start + len(data)]}
        start += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())
