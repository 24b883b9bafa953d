"""ModelPacks of every version and tool, each to be read."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

import zstandard

from modelpack.errors import InvalidConfig
from tests.conformance.artifacts.cases import Case
from tests.servers.artifacts import (
    FILEPATH,
    METADATA,
    OCI_INDEX,
    TITLE,
    Layer,
    config_of,
    indexed,
    link,
    packed,
    raw,
    sha256,
    tar,
    written,
)

CNAI_ARTIFACT = "application/vnd.cnai.model.manifest.v1+json"
CNAI_CONFIG = "application/vnd.cnai.model.config.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
WEIGHTS, CONFIG = b"weights" * 10, b'{"model_type": "tiny"}'


def cnai(path: str, data: bytes, kind: str, encoding: str = "tar", metadata: str = "") -> Layer:
    notes = {"org.cnai.model.filepath": path, **({metadata: json.dumps({"name": path})} if metadata else {})}
    return Layer(f"application/vnd.cnai.model.{kind}.v1.{encoding}", data, notes)


def by_modctl() -> Iterator[Case]:
    def early(path: str, data: bytes, flag: str) -> Layer:
        notes = {"org.cnai.model.filepath": path, f"org.cnai.model.{flag}": "true"}
        artifact_type = {"artifactType": "application/vnd.cnai.model.layer.v1.tar"}
        return Layer("application/vnd.oci.image.layer.v1.tar", tar({path: data}), notes, artifact_type)

    yield Case(
        written(
            "modctl-first",
            [early("sub/config.json", CONFIG, "config"), early("model.bin", WEIGHTS, "model")],
            config=b'{"rootfs": {}}',
            config_type=IMAGE_CONFIG,
            artifactType=CNAI_ARTIFACT,
            annotations={"org.cnai.model.family": "qwen2", "org.cnai.model.created": "2024-11-11T21:16:41+08:00"},
        ),
        "the first modctl: layers of one type told apart by annotations, an image config, a described manifest",
        {"sub/config.json": CONFIG, "model.bin": WEIGHTS},
        codes=("config-type-old", "layer-type-old"),
    )
    weights = cnai("model.bin", tar({"model.bin": WEIGHTS}), "weight")
    yield Case(
        written(
            "modctl-v0.0.1",
            [weights],
            config={
                "descriptor": {"name": "old"},
                "config": {"parameterSize": 500_000_000, "puantization": "gptq"},
                "modelfs": {"type": "layers", "diff_ids": [sha256(weights.data)]},
            },
            config_type=CNAI_CONFIG,
            artifactType=CNAI_ARTIFACT,
        ),
        "version 0.0.1: a count of parameters, a misspelt member, diff_ids",
        {"model.bin": WEIGHTS},
        codes=("old-name",),
    )
    snake = [
        cnai("config.json", CONFIG, "weight.config", "raw", "org.cnai.model.file.metadata"),
        cnai("model.bin", WEIGHTS, "weight", "raw", "org.cnai.model.file.metadata+json"),
    ]
    capabilities = {"input_types": ["text"], "output_types": ["text"], "tool_usage": True, "reasoning": False}
    yield Case(
        written(
            "modctl-snake-case",
            snake,
            config={
                "descriptor": {"name": "old"},
                "config": {"paramSize": "0.5b", "capabilities": capabilities},
                "modelfs": {"type": "layers", "diff_ids": [sha256(layer.data) for layer in snake]},
            },
            config_type=CNAI_CONFIG,
            artifactType=CNAI_ARTIFACT,
        ),
        "version 0.0.6: capabilities in snake case, file metadata under both keys",
        {"config.json": CONFIG, "model.bin": WEIGHTS},
        codes=("old-name",),
    )
    new = raw("model.bin", WEIGHTS)
    yield Case(
        written(
            "snake-case-in-cncf",
            [new],
            config={"descriptor": {}, "config": {}, "modelfs": {"type": "layers", "diff_ids": [sha256(WEIGHTS)]}},
        ),
        "an old name in a config of the new vendor breaks its schema",
        {"model.bin": WEIGHTS},
        strict=InvalidConfig,
        codes=("old-name",),
    )


def by_others() -> Iterator[Case]:
    untested = {"org.cncf.model.file.mediatype.untested": "true"}

    def aikit(path: str, data: bytes, kind: str) -> Layer:
        metadata = {
            "name": path,
            "mode": 420,
            "size": len(data),
            "typeflag": 0,
            "files": 1,
            "mtime": "2025-01-01T00:00:00Z",
        }
        notes = {FILEPATH: path, TITLE: path, METADATA: json.dumps(metadata), **untested}
        return Layer(f"application/vnd.cncf.model.{kind}.v1.raw", data, notes)

    yield Case(
        written("aikit-raw", [aikit("model.gguf", WEIGHTS, "weight"), aikit("LICENSE", b"MIT", "doc")], config=b"{}"),
        "AIKit, one raw layer per file: an empty config, unknown metadata members",
        {"model.gguf": WEIGHTS, "LICENSE": b"MIT"},
        codes=("empty-config",),
    )
    note = {"name": "m.gguf", "mode": 420, "uid": 0, "gid": 0, "size": len(WEIGHTS), "mtime": "2025-01-01T00:00:00Z"}
    yield Case(
        written(
            "ramalama-typeflag",
            [
                Layer(
                    "application/vnd.cncf.model.weight.v1.raw",
                    WEIGHTS,
                    {FILEPATH: "m.gguf", METADATA: json.dumps({**note, "typeflag": ord("0")})},
                )
            ],
        ),
        "RamaLama: typeflag is the character 0",
        {"m.gguf": WEIGHTS},
    )
    nameless = Layer("application/vnd.cncf.model.weight.v1.gguf", WEIGHTS)
    yield Case(
        written("docker-cncf-nameless", [nameless]),
        "older Docker Model Runners in cncf format: a layer type of their own, no annotations",
        {"model.gguf": WEIGHTS},
        codes=("layer-type-old",),
    )
    kit = packed("model.safetensors", tar({"model.safetensors": WEIGHTS}))
    yield Case(
        written(
            "kitops-as-modelpack",
            [kit, packed("docs", tar({"README.md": b"hi"}), "doc", "tar+gzip")],
            annotations={"ml.kitops.modelkit.kitfile": json.dumps({"manifestVersion": "1.0.0"})},
        ),
        "kit pack --use-model-pack: archives, the Kitfile as an annotation",
        {"model.safetensors": WEIGHTS, "README.md": b"hi"},
    )
    image = written(
        "an-image",
        [Layer("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(tar({"bin/sh": b"x"}), mtime=0))],
        config=b"{}",
        config_type=IMAGE_CONFIG,
        artifactType=None,
    )
    model = written("a-model", [Layer("application/vnd.cncf.model.weight.v1.raw", WEIGHTS, {TITLE: "model.joblib"})])
    amd64 = {"platform": {"os": "linux", "architecture": "amd64"}}
    attestation = {
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    typed = {"artifactType": "application/vnd.cncf.model.manifest.v1+json"}
    yield Case(
        indexed("olot-in-an-index", [(image, amd64), (image, attestation), (model, typed)]),
        "olot: the model beside container images of one index, named by its title alone",
        {"model.joblib": WEIGHTS},
    )
    yield Case(
        indexed("index-without-platforms", [(model, {})]),
        "an index of one entry that says nothing of itself",
        {"model.joblib": WEIGHTS},
    )
    inner = indexed("inner", [(model, typed)])
    yield Case(
        indexed("index-in-an-index", [(inner, {"mediaType": OCI_INDEX})]),
        "an index whose only entry is an index",
        {"model.joblib": WEIGHTS},
    )
    yield Case(
        written("go-nulls", [raw("m.bin", WEIGHTS, urls=None)], annotations={"a": None}),
        "members that Go programs write as null",
        {"m.bin": WEIGHTS},
    )


def archives() -> Iterator[Case]:
    files = {"config.json": CONFIG, "sub/model.safetensors": WEIGHTS}
    archive = tar(files)

    def compressed(data: bytes, encoding: str) -> Layer:
        return Layer(
            f"application/vnd.cncf.model.weight.v1.{encoding}", data, {FILEPATH: "all"}, diff_id=sha256(archive)
        )

    halves = archive[:700], archive[700:]
    members = b"".join(gzip.compress(half, mtime=0) for half in halves)
    yield Case(
        written("gzip-of-two-members", [compressed(members, "tar+gzip")]),
        "gzip concatenated, as pigz and bgzip write it",
        files,
    )
    frames = b"".join(zstandard.compress(half) for half in halves)
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0skip"
    yield Case(
        written("zstd-of-frames", [compressed(skippable + frames, "tar+zstd")]),
        "zstd of several frames, one of them to be skipped, as seekable zstd is",
        files,
    )
    long = {f"{'d' * 120}/{'f' * 180}.bin": WEIGHTS, "unicode-é.bin": b"1"}
    gnu = _gnu(long)
    yield Case(
        written(
            "long-names", [packed("pax", tar({f"pax/{name}": data for name, data in long.items()})), packed("gnu", gnu)]
        ),
        "names longer than a header has room for, by pax records and by GNU's",
        {**{f"pax/{name}": data for name, data in long.items()}, **long},
    )
    linked: Mapping[str, Any] = {
        "v1/model.bin": WEIGHTS,
        "same.bin": link("same.bin", "v1/model.bin", tarfile.LNKTYPE),
        "latest": link("latest", "v1/model.bin"),
    }
    yield Case(
        written("links-inside", [packed("linked", tar(linked))]),
        "a hard link and a symlink to a file of the same archive",
        {"v1/model.bin": WEIGHTS, "same.bin": WEIGHTS, "latest": WEIGHTS},
    )
    long_digest = "sha512:" + hashlib.sha512(WEIGHTS).hexdigest()
    layer = raw("m.bin", WEIGHTS, digest=long_digest)
    yield Case(
        written("sha512", [layer], config=config_of([layer])),
        "a layer by its sha512",
        {"m.bin": WEIGHTS},
    )
    here = packed(".", tar({"config.json": CONFIG}), "weight.config"), packed("models/", tar({"m.bin": WEIGHTS}))
    yield Case(
        written("archives-of-directories", here),
        "archives that are called what they are unpacked into",
        {"config.json": CONFIG, "m.bin": WEIGHTS},
    )
    zero = raw("empty.txt", b"", "doc")
    yield Case(
        written("empty-file", [zero, raw("m.bin", WEIGHTS)]),
        "a file of no bytes",
        {"empty.txt": b"", "m.bin": WEIGHTS},
    )
    twin = [raw("a/model.bin", WEIGHTS), raw("b/model.bin", WEIGHTS)]
    yield Case(
        written("one-blob-two-names", twin),
        "two files of the same content",
        {"a/model.bin": WEIGHTS, "b/model.bin": WEIGHTS},
    )
    padding = Layer("application/vnd.oci.empty.v1+json", b"{}")
    yield Case(
        written("an-empty-layer", [raw("m.bin", WEIGHTS), padding]),
        "image-spec's empty descriptor among the layers",
        {"m.bin": WEIGHTS},
    )


def _gnu(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


CASES = (*by_modctl(), *by_others(), *archives())
