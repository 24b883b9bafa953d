"""Models in other tools' formats, each to be read: Docker, KitOps, Ollama, container images."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import zstandard

from modelpack.errors import InvalidManifest, UnsupportedArtifact
from tests.conformance.artifacts.cases import Case, refused
from tests.servers.artifacts import (
    DOCKER_MANIFEST,
    FILEPATH,
    TITLE,
    Layer,
    Written,
    indexed,
    sha256,
    tar,
    written,
)

WEIGHTS, LICENSE = b"weights" * 10, b"Permission is hereby granted"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
KITOPS_CONFIG = "application/vnd.kitops.modelkit.config.v1+json"


def docker() -> Iterator[Case]:
    def layer(short: str, data: bytes, notes: Mapping[str, str] | None = None) -> Layer:
        return Layer(f"application/vnd.docker.ai.{short}", data, notes or {})

    def model(name: str, version: str, layers: Sequence[Layer], **about: Any) -> Written:
        config = {
            "config": about,
            "descriptor": {},
            "rootfs": {"type": "rootfs", "diff_ids": [sha256(each.data) for each in layers]},
        }
        kind = f"application/vnd.docker.ai.model.config.{version}+json"
        return written(name, layers, config=config, config_type=kind, artifactType=None)

    by_position = [
        layer("gguf.v3", b"1" + WEIGHTS),
        layer("gguf.v3", b"2" + WEIGHTS),
        layer("mmproj", b"3" + WEIGHTS),
        layer("license", LICENSE),
        layer("chat.template.jinja", b"{{ messages }}"),
    ]
    yield Case(
        model("docker-v0.1-by-position", "v0.1", by_position, format="gguf", parameters="8B"),
        "Docker Model Runner 0.1: files told apart by type and position alone",
        {
            "model-00001-of-00002.gguf": b"1" + WEIGHTS,
            "model-00002-of-00002.gguf": b"2" + WEIGHTS,
            "mmproj.gguf": b"3" + WEIGHTS,
            "LICENSE": LICENSE,
            "chat_template.jinja": b"{{ messages }}",
        },
    )
    archives = [
        layer("safetensors", WEIGHTS),
        layer("vllm.config.tar", tar({"config.json": b"{}", "tokenizer.json": b"[]"})),
        layer("dir.tar", tar({"text_encoder/config.json": b"{ }"})),
        layer("dduf", b"dduf", {FILEPATH: "pipeline.dduf"}),
    ]
    yield Case(
        model("docker-v0.1-archives", "v0.1", archives, format="safetensors"),
        "Docker Model Runner 0.1: configuration and directories as archives",
        {
            "model.safetensors": WEIGHTS,
            "config.json": b"{}",
            "tokenizer.json": b"[]",
            "text_encoder/config.json": b"{ }",
            "pipeline.dduf": b"dduf",
        },
    )
    yield Case(
        model("docker-before-v0.1", "v1", [layer("model.file.v1+gguf", WEIGHTS), layer("license", LICENSE)]),
        "the first Docker models",
        {"model.gguf": WEIGHTS, "LICENSE": LICENSE},
    )
    unnamed = [layer("model.file", b"{}"), layer("gguf.v3", WEIGHTS)]
    yield Case(
        model("docker-v0.2-unnamed", "v0.2", unnamed),
        "a file that lost its path",
        {"model.gguf": WEIGHTS},
        strict=InvalidManifest,
        codes=("no-name",),
    )


def kitops() -> Iterator[Case]:
    def layer(short: str, data: bytes, **notes: str) -> Layer:
        return Layer(f"application/vnd.kitops.modelkit.{short}", data, notes)

    def kit(name: str, layers: Sequence[Layer], kitfile: Mapping[str, Any]) -> Written:
        artifact = "application/vnd.kitops.modelkit.manifest.v1+json"
        return written(name, layers, config=dict(kitfile), config_type=KITOPS_CONFIG, artifactType=artifact)

    archives = [
        layer("model.v1.tar+gzip", gzip.compress(tar({"model/model.onnx": WEIGHTS}), mtime=0)),
        layer("modelpart.v1.tar", tar({"lora/adapter.safetensors": b"lora"})),
        layer("dataset.v1.tar", tar({"data/train.csv": b"a,b"})),
        layer("code.v1.tar+gzip", gzip.compress(tar({"src/run.py": b"pass"}), mtime=0)),
        layer("docs.v1.tar", tar({"README.md": b"hi"})),
    ]
    yield Case(
        kit("kitops-archives", archives, {"manifestVersion": "1.0.0", "package": {"name": "kit", "license": "MIT"}}),
        "a ModelKit of archives: model, part, dataset, code, docs",
        {
            "model/model.onnx": WEIGHTS,
            "lora/adapter.safetensors": b"lora",
            "data/train.csv": b"a,b",
            "src/run.py": b"pass",
            "README.md": b"hi",
        },
    )
    plain = layer("model.v1.raw", WEIGHTS)
    packed = tar({"docs/a.md": b"a"})
    docs = layer("docs.v1.tar+zstd", zstandard.compress(packed))
    kitfile = {
        "model": {
            "path": "./model.safetensors",
            "layerInfo": {"digest": sha256(plain.data), "diffId": sha256(plain.data)},
        },
        "docs": [{"path": "docs", "layerInfo": {"digest": sha256(docs.data), "diffId": sha256(packed)}}],
    }
    yield Case(
        kit("kitops-raw-and-zstd", [plain, docs], kitfile),
        "KitOps 1.15: files as they are, named by the Kitfile, and zstd",
        {"model.safetensors": WEIGHTS, "docs/a.md": b"a"},
    )
    small, large = (
        kit(f"kit-{name}", [layer("model.v1.raw", data, **{TITLE: "model.bin"})], {})
        for name, data in (("q4", b"4"), ("q8", b"8"))
    )
    labels = [
        (small, {"modelMetadata": {"quantization": "q4_0"}}),
        (large, {"modelMetadata": {"quantization": "q8_0"}}),
    ]
    kind = "application/vnd.kitops.modelkit.index.v1+json"
    yield refused(
        indexed("kitops-variants", labels, artifactType=kind),
        "KitOps 1.17: an index of variants, between which a reader cannot choose",
        UnsupportedArtifact,
        "2 models",
        "quantization=q4_0",
        "quantization=q8_0",
        small.digest,
        "repository@digest",
    )
    yield Case(
        indexed("kitops-one-variant", labels[:1], artifactType=kind),
        "an index of one variant",
        {"model.bin": b"4"},
    )


def ollama() -> Iterator[Case]:
    def layer(short: str, data: bytes, **members: str) -> Layer:
        return Layer(f"application/vnd.ollama.image.{short}", data, members=members)

    def model(name: str, layers: Sequence[Layer]) -> Written:
        config = {"model_format": "gguf", "model_family": "llama", "rootfs": {"type": "layers", "diff_ids": []}}
        kind = "application/vnd.docker.container.image.v1+json"
        return written(name, layers, config=config, config_type=kind, mediaType=DOCKER_MANIFEST, artifactType=None)

    everything = {
        "model": ("model.gguf", WEIGHTS),
        "projector": ("mmproj.gguf", b"projector"),
        "adapter": ("adapter.gguf", b"adapter"),
        "draft": ("draft.gguf", b"draft"),
        "template": ("template", b"{{ .Prompt }}"),
        "system": ("system", b"You are tiny."),
        "params": ("params.json", b'{"stop":["<|im_end|>"]}'),
        "messages": ("messages.json", b"[]"),
    }
    layers = [layer(short, data) for short, (_, data) in everything.items()]
    licenses = [layer("license", LICENSE), layer("license", b"and another")]
    yield Case(
        model("ollama-everything", [*layers, *licenses, layer("embed", b"old"), layer("future", b"?")]),
        "every layer that Ollama knows, one it forgot, and one that nobody knows",
        {**dict(everything.values()), "LICENSE": LICENSE, "LICENSE-2": b"and another"},
        codes=("layer-type",),
    )
    tensors = [
        layer("tensor", b"1" + WEIGHTS, name="text_encoder/embed.weight"),
        layer("tensor", b"2" + WEIGHTS, name="model.norm.weight"),
        layer("json", b"{}", name="text_encoder/config.json"),
    ]
    yield Case(
        model("ollama-tensors", tensors),
        "Ollama's safetensors models: a layer for each tensor, named beside its type",
        {
            "text_encoder/embed.weight.safetensors": b"1" + WEIGHTS,
            "model.norm.weight.safetensors": b"2" + WEIGHTS,
            "text_encoder/config.json": b"{}",
        },
    )
    split = [layer("model", b"1"), layer("model", b"2"), layer("model", b"3")]
    yield Case(
        model("ollama-split", split),
        "a split GGUF, named as llama.cpp looks for it",
        {f"model-{number:05}-of-00003.gguf": str(number).encode() for number in (1, 2, 3)},
    )


def images() -> Iterator[Case]:
    def image(name: str, archives: Sequence[bytes], compression: str = "+gzip") -> Written:
        pack = {"": bytes, "+gzip": lambda data: gzip.compress(data, mtime=0), "+zstd": zstandard.compress}[compression]
        layers = [Layer(f"application/vnd.oci.image.layer.v1.tar{compression}", pack(archive)) for archive in archives]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [sha256(each) for each in archives]},
        }
        return written(name, layers, config=config, config_type=IMAGE_CONFIG, artifactType=None)

    base = tar({"bin/sh": b"#!", "models/config.json": b"old", "models/old/a.bin": b"a", "models/gone.bin": b"gone"})
    over = tar(
        {
            "models/config.json": b"new",
            "models/.wh.gone.bin": b"",
            "models/old/.wh..wh..opq": b"",
            "models/old/b.bin": b"b",
        }
    )
    for compression in ("", "+gzip", "+zstd"):
        yield Case(
            image(f"modelcar{compression.replace('+', '-')}", [base, over], compression),
            "a container image with a model below /models, files replaced and taken away by a later layer",
            {"config.json": b"new", "old/b.bin": b"b"},
        )
    machines = [
        (
            image(f"for-{arch}", [tar({"models/m.bin": arch.encode()})]),
            {"platform": {"os": "linux", "architecture": arch}},
        )
        for arch in ("amd64", "arm64")
    ]
    yield Case(
        indexed("modelcar-for-two-machines", machines),
        "an image for several kinds of machine: the one for this",
        {"m.bin": _here().encode()},
    )
    yield refused(
        image("image-without-models", [tar({"bin/sh": b"#!"})]),
        "an image that carries no model",
        UnsupportedArtifact,
        "/models",
    )


def _here() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


CASES = (*docker(), *kitops(), *ollama(), *images())
