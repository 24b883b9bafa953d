"""Models with chunk tables and signatures in a real registry, and ways to spoil them."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from modelpack import mediatypes
from modelpack.chunk_table import (
    CHUNK_TABLE_ANNOTATION,
    CHUNK_TABLE_TYPE,
    BlobChunks,
    ChunkTable,
    chunk_digests,
    chunk_size_for,
    encode_table,
)
from modelpack.config import ModelConfig, ModelFS, encode_config
from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor, Manifest, encode_manifest
from modelpack.oci import RegistryClient, push
from modelpack.reference import Reference
from modelpack.referrers import SIGSTORE_BUNDLE, Attachment, attachment
from modelpack.trust.keys import PrivateKey, generate
from tests.servers.registry import Access, Registry

WEIGHTS = "model.safetensors"
SIZE = 3 * 256 * 1024 + 7  # bytes: four chunks


@dataclass
class SignedModel:
    """One model in a layout of its own and in a registry. `weights` are random of `seed`."""

    home: Path
    registry: Registry
    repository: str = "org/model"
    seed: int = 1
    table: bool = True
    files: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = {"config.json": b"{}", WEIGHTS: random.Random(self.seed).randbytes(SIZE)} | self.files
        self.layout = OciLayout.create(self.home / f"layout-{self.repository.replace('/', '-')}-{self.seed}")
        layers = tuple(self._layer(name, data) for name, data in self.files.items())
        self.raw_table = encode_table(
            ChunkTable(tuple(self.chunks(layer, data) for layer, data in zip(layers, self.files.values(), strict=True)))
        )
        named = self.layout.blobs.add(self.raw_table, CHUNK_TABLE_TYPE)
        self.manifest = Manifest(
            schema_version=2,
            media_type=mediatypes.OCI_MANIFEST,
            artifact_type=mediatypes.CNCF_ARTIFACT,
            config=self.layout.blobs.add(
                encode_config(ModelConfig(modelfs=ModelFS(diff_ids=tuple(layer.digest for layer in layers)))),
                mediatypes.CNCF_CONFIG,
            ),
            layers=layers,
            annotations={CHUNK_TABLE_ANNOTATION: named.digest} if self.table else {},
        )
        self.descriptor = self.layout.add_manifest(encode_manifest(self.manifest), "v1")
        if self.table:
            self.layout.add_referrer(attachment(self.descriptor, CHUNK_TABLE_TYPE, self.raw_table))
        asyncio.run(self._push())

    @staticmethod
    def chunks(layer: Descriptor, data: bytes) -> BlobChunks:
        size = chunk_size_for(len(data))
        return BlobChunks(layer.digest, layer.size, size, chunk_digests(data, size))

    @property
    def reference(self) -> str:
        return f"{self.registry.host}/{self.repository}:v1"

    @property
    def ref(self) -> Reference:
        return Reference(self.registry.host, self.repository, "v1")

    @property
    def digest(self) -> str:
        return self.descriptor.digest

    @property
    def weights(self) -> Descriptor:
        return self.manifest.layers[list(self.files).index(WEIGHTS)]

    def weight_reads(self) -> list[Access]:
        """Requests for the bytes of any layer since the log was cleared."""
        digests = {layer.digest for layer in self.manifest.layers}
        return [access for access in self.registry.access_log() if access.blob in digests and access.method == "GET"]

    def attach(self, what: Attachment) -> str:
        async def run() -> str:
            async with RegistryClient() as client:
                return await client.attach(self.ref, what)

        return asyncio.run(run())

    def attach_bundle(self, raw: bytes) -> str:
        """A sigstore bundle, whatever it says, that refers to this model."""
        return self.attach(attachment(self.descriptor, SIGSTORE_BUNDLE, raw))

    def replace_blob(self, digest: str, data: bytes) -> None:
        """Put other bytes where the registry's storage keeps a blob, behind its back."""
        value = digest.partition(":")[2]
        found = list((self.registry.storage / "docker/registry/v2/blobs/sha256" / value[:2] / value).glob("data"))
        assert len(found) == 1
        found[0].write_bytes(data)

    def _layer(self, name: str, data: bytes) -> Descriptor:
        kind = "weight" if name.endswith(".safetensors") else "weight.config"
        stored = self.layout.blobs.add(data, f"application/vnd.cncf.model.{kind}.v1.raw")
        return msgspec.structs.replace(stored, annotations={mediatypes.FILEPATH: name, mediatypes.TITLE: name})

    async def _push(self) -> None:
        async with RegistryClient() as client:
            await push(self.layout, "v1", self.ref, client)


@dataclass(frozen=True)
class Keys:
    """A pair of keys in files."""

    key: PrivateKey
    secret: Path
    public: Path

    @classmethod
    def make(cls, home: Path, name: str) -> Keys:
        key = generate()
        secret, public = home / f"{name}.key", home / f"{name}.pub"
        secret.write_bytes(key.pem())
        public.write_bytes(key.public.pem())
        return cls(key, secret, public)


def policy(home: Path, *rules: dict[str, object]) -> Path:
    """A policy file of these rules."""
    path = home / "policy.json"
    path.write_text(json.dumps({"version": 1, "rules": list(rules)}))
    return path
