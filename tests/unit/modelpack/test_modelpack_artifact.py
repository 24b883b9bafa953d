"""Reading artifacts of every dialect: which files they mean, and what is said of their departures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelpack import mediatypes
from modelpack.artifact import ModelArtifact, read_artifact
from modelpack.digests import sha256_digest
from modelpack.errors import (
    DigestMismatch,
    InvalidConfig,
    InvalidManifest,
    SizeMismatch,
    UnsafeName,
    UnsupportedArtifact,
)
from modelpack.inspect import describe
from modelpack.manifest import Descriptor, Manifest

WEIGHT = mediatypes.layer_type("weight")


def layer(media_type: str = WEIGHT, content: bytes = b"w", **annotations: str) -> Descriptor:
    keys = {"path": mediatypes.FILEPATH, "title": mediatypes.TITLE, "metadata": mediatypes.FILE_METADATA}
    return Descriptor(
        media_type=media_type,
        digest=sha256_digest(content),
        size=len(content),
        annotations={keys.get(key, key): value for key, value in annotations.items()},
    )


def spec_config(*layers: Descriptor, **members: Any) -> dict[str, Any]:
    return {
        "descriptor": {},
        "config": {},
        "modelfs": {"type": "layers", "diffIds": [entry.digest for entry in layers]},
        **members,
    }


def read(
    *layers: Descriptor,
    config: Any = None,
    config_type: str = mediatypes.CNCF_CONFIG,
    artifact_type: str = mediatypes.CNCF_ARTIFACT,
    media_type: str = mediatypes.OCI_MANIFEST,
    mode: Any = "strict",
) -> ModelArtifact:
    raw = config if isinstance(config, bytes) else json.dumps(config or spec_config(*layers)).encode()
    manifest = Manifest(
        schema_version=2,
        media_type=media_type,
        artifact_type=artifact_type,
        config=Descriptor(media_type=config_type, digest=sha256_digest(raw), size=len(raw)),
        layers=layers,
    )
    return read_artifact(manifest, raw, mode=mode)


def paths(artifact: ModelArtifact) -> list[str]:
    return [file.path for file in artifact.files]


def codes(artifact: ModelArtifact) -> list[str]:
    return [deviation.code for deviation in artifact.deviations]


def test_a_path_comes_from_filepath_then_metadata_then_title():
    metadata = json.dumps({"name": "from-metadata", "mode": 0o755, "files": 2})
    artifact = read(
        layer(content=b"1", path="./sub/from-path", metadata=metadata, title="x"),
        layer(content=b"2", metadata=metadata, title="x"),
        layer(content=b"3", title="from-title"),
    )
    assert paths(artifact) == ["sub/from-path", "from-metadata", "from-title"]
    assert [file.executable for file in artifact.files] == [True, True, False]
    assert artifact.deviations == ()


def test_the_older_vendor_and_its_names():
    old = "application/vnd.cnai.model.weight.v1.tar"
    entry = layer(old, **{mediatypes.CNAI_FILEPATH: "m.bin", mediatypes.CNAI_FILE_METADATA_OLD: "{}"})
    config = {"descriptor": {}, "config": {}, "modelfs": {"type": "layers", "diff_ids": [entry.digest]}}
    artifact = read(entry, config=config, config_type=mediatypes.CNAI_CONFIG, artifact_type=mediatypes.CNAI_ARTIFACT)
    assert (artifact.dialect, codes(artifact)) == ("cnai", ["old-name"])
    assert artifact.files[0].encoding == "tar"
    with pytest.raises(InvalidConfig, match="is called diffIds"):
        read(entry, config=config)


def test_files_that_nobody_said_anything_about():
    archive = "application/vnd.oci.image.layer.v1.tar+gzip"
    layers = (
        layer("application/vnd.oci.image.layer.v1.tar", b"1", title="model.safetensors"),
        layer("text/plain", b"2", title="docs/README.md"),
        layer(archive, b"3", title="onnx", **{"io.deis.oras.content.unpack": "true"}),
        layer(archive, b"4", title="data.tar.gz"),
        layer(archive, b"5", title="data", **{"io.deis.oras.content.unpack": "false"}),
    )
    unknown = {
        "config": {},
        "config_type": mediatypes.OCI_EMPTY,
        "artifact_type": "application/vnd.unknown.artifact.v1",
    }
    artifact = read(*layers, **unknown)
    assert (artifact.dialect, artifact.config, codes(artifact)) == ("oras", None, [])
    assert [(file.path, file.kind, file.encoding) for file in artifact.files[:3]] == [
        ("model.safetensors", "weight", "raw"),
        ("docs/README.md", "doc", "raw"),
        ("onnx", "other", "tar+gzip"),
    ]
    assert [file.encoding for file in artifact.files[3:]] == ["raw", "raw"]
    with pytest.raises(UnsafeName):
        read(layer("text/plain", b"2", title="../x"), **unknown)
    for members in ({"artifact_type": "application/vnd.acme.chart"}, {"config_type": "application/vnd.acme.config"}):
        with pytest.raises(UnsupportedArtifact):
            read(*layers, **{**unknown, **members})
    with pytest.raises(UnsupportedArtifact):
        read(*layers, layer("text/plain", b"6"), **unknown)


@pytest.mark.parametrize(
    ("members", "code", "error"),
    [
        ({"artifact_type": "application/x"}, "artifact-type", InvalidManifest),
        ({"config_type": "application/x"}, "config-type", InvalidManifest),
        ({"media_type": mediatypes.DOCKER_MANIFEST}, "manifest-type", InvalidManifest),
        ({"config": spec_config()}, "wrong-value", InvalidConfig),
        ({"config": spec_config(layer(content=b"other"))}, "diff-id-mismatch", DigestMismatch),
        ({"config": spec_config(layer(), layer())}, "diff-ids-count", InvalidConfig),
    ],
)
def test_breaches_are_refused_or_reported(members, code, error):
    with pytest.raises(error):
        read(layer(path="m.bin"), **members)
    assert code in codes(read(layer(path="m.bin"), mode="lenient", **members))


def test_layers_of_other_types():
    foreign = layer("application/vnd.oci.image.layer.v1.tar+gzip", b"1")
    old = layer("application/vnd.cncf.model.weight.v1.gguf", b"2", path="m.gguf")
    empty = layer(mediatypes.OCI_EMPTY, b"{}")
    nameless = layer(content=b"3")
    with pytest.raises(InvalidManifest, match="not one of ModelPack's"):
        read(foreign)
    with pytest.raises(InvalidManifest, match="has no name"):
        read(nameless)
    artifact = read(foreign, old, empty, nameless, mode="lenient")
    assert [(file.path, file.kind, file.encoding) for file in artifact.files] == [
        ("other-0", "other", "tar+gzip"),
        ("m.gguf", "weight", "raw"),
    ]
    assert codes(artifact) == ["layer-type", "layer-type-old", "no-name"]


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"size":"big"}', '{"name":"a","name":"b"}', " " * 70_000])
def test_unreadable_metadata_is_a_warning(text):
    assert codes(read(layer(path="m.bin", metadata=text))) == ["file-metadata"]


def test_metadata_that_contradicts_the_descriptor():
    assert codes(read(layer(path="m.bin", metadata='{"size":7}'))) == ["metadata-size"]


def test_bytes_that_are_not_the_config():
    manifest = Manifest(
        schema_version=2,
        media_type=mediatypes.OCI_MANIFEST,
        config=Descriptor(media_type=mediatypes.CNCF_CONFIG, digest=sha256_digest(b"{}"), size=2),
        layers=(),
    )
    with pytest.raises(SizeMismatch, match="has 3 bytes and its descriptor says 2"):
        read_artifact(manifest, b"{ }")
    with pytest.raises(DigestMismatch, match="has the digest"):
        read_artifact(manifest, b"[]")
    with pytest.raises(UnsupportedArtifact, match="holds no files"):
        read_artifact(manifest, b"{}")


def test_what_is_no_model():
    with pytest.raises(UnsupportedArtifact, match=r"application/vnd\.oci\.image\.config"):
        read(layer(path="x"), config_type="application/vnd.oci.image.config.v1+json", artifact_type="")


def test_names_are_checked_whatever_the_mode():
    for bad in ("../x", "/x", "a\0b"):
        with pytest.raises(UnsafeName):
            read(layer(path=bad), mode="lenient")
        with pytest.raises(UnsafeName):
            read(layer(mediatypes.layer_type("doc", "tar"), path=bad), mode="lenient")
    with pytest.raises(UnsafeName, match="twice"):
        read(layer(path="m.bin"), layer(content=b"2", path="./m.bin"))


def docker(short: str, content: bytes, **annotations: str) -> Descriptor:
    return layer(mediatypes.DOCKER_AI + short, content, **annotations)


def test_docker_models_by_position():
    config = {
        "config": {"format": "gguf", "quantization": "Q4_0", "parameters": "8B", "architecture": "llama"},
        "rootfs": {"type": "layers", "diff_ids": [sha256_digest(b"1"), "nonsense", 7]},
    }
    artifact = read(
        docker("gguf.v3", b"1"),
        docker("gguf.v3", b"2"),
        docker("mmproj", b"3"),
        docker("license", b"4"),
        docker("license", b"5"),
        docker("chat.template.jinja", b"6"),
        docker("dir.tar", b"7"),
        docker("safetensors", b"8", path="sub/model.safetensors"),
        config=config,
        config_type="application/vnd.docker.ai.model.config.v0.1+json",
        artifact_type="",
    )
    assert artifact.dialect == "docker-v0.1"
    assert paths(artifact) == [
        "model-00001-of-00002.gguf",
        "model-00002-of-00002.gguf",
        "mmproj.gguf",
        "LICENSE",
        "LICENSE-2",
        "chat_template.jinja",
        "directory",
        "sub/model.safetensors",
    ]
    assert artifact.config is not None
    assert artifact.config.config.param_size == "8B"
    assert artifact.config.modelfs.diff_ids == (sha256_digest(b"1"),)


def test_docker_layers_nobody_can_name():
    members = {"config_type": "application/vnd.docker.ai.model.config.v0.2+json", "artifact_type": ""}
    with pytest.raises(InvalidManifest, match="has no name"):
        read(docker("model.file", b"1"), **members)
    artifact = read(docker("future", b"1"), docker("gguf.v3", b"2"), config=b"no json", mode="lenient", **members)
    assert paths(artifact) == ["model.gguf"]
    assert codes(artifact) == ["no-name", "config-unreadable"]


def test_kitops():
    kitfile = {
        "package": {"name": "kit", "version": "1", "authors": ["a", 1], "license": "MIT"},
        "model": {"framework": "onnx"},
    }
    kit = mediatypes.KITOPS_LAYER
    members = {"config_type": mediatypes.KITOPS_CONFIG, "artifact_type": ""}
    artifact = read(
        layer(kit + "model.v1.tar+gzip", b"1"),
        layer(kit + "docs.v1.raw", b"2", title="README.md"),
        layer(kit + "dataset.v1.tar+zstd", b"3", title="data"),
        layer(kit + "future.v1.tar", b"4"),
        layer("application/x.tar", b"5"),
        config=kitfile,
        **members,
    )
    assert [(file.path, file.kind, file.encoding) for file in artifact.files] == [
        ("weight-0", "weight", "tar+gzip"),
        ("README.md", "doc", "raw"),
        ("data", "dataset", "tar+zstd"),
        ("other-3", "other", "tar"),
        ("other-4", "other", "tar"),
    ]
    assert artifact.config is not None
    assert artifact.config.descriptor.licenses == ("MIT",)
    assert artifact.config.descriptor.authors == ("a",)
    nameless = layer(kit + "code.v1.raw", b"6")
    with pytest.raises(InvalidManifest, match="has no name"):
        read(nameless, config=kitfile, **members)
    with pytest.raises(UnsupportedArtifact, match="no files"):
        read(nameless, config=kitfile, mode="lenient", **members)


def test_ollama():
    def ollama(short: str, content: bytes) -> Descriptor:
        return layer(mediatypes.OLLAMA_LAYER + short, content)

    artifact = read(
        ollama("model", b"1"),
        ollama("params", b"2"),
        ollama("adapter", b"3"),
        ollama("adapter", b"4"),
        ollama("future", b"5"),
        config={"model_format": "gguf", "model_family": "llama", "model_type": "1B", "file_type": "Q4_0"},
        config_type=mediatypes.DOCKER_IMAGE_CONFIG,
        artifact_type="",
        media_type=mediatypes.DOCKER_MANIFEST,
    )
    assert paths(artifact) == [
        "model.gguf",
        "params.json",
        "adapter-00001-of-00002.gguf",
        "adapter-00002-of-00002.gguf",
    ]
    assert codes(artifact) == ["layer-type"]
    assert artifact.config is not None
    assert artifact.config.config.quantization == "Q4_0"


def test_the_summary_counts_each_blob_once():
    artifact = read(
        layer(content=b"same", path="a.bin"),
        layer(content=b"same", path="b.bin"),
        layer(mediatypes.layer_type("doc"), b"readme", path="README.md"),
    )
    pointer = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=sha256_digest(b"m"), size=1)
    summary = describe(artifact, pointer)
    assert (summary.size, summary.kinds) == (10, {"doc": 6, "weight": 4})
    assert [(file.path, file.size) for file in summary.files] == [("a.bin", 4), ("b.bin", 4), ("README.md", 6)]
    assert (summary.digest, summary.dialect) == (pointer.digest, "cncf")


def test_deviations_say_where():
    old = layer("application/vnd.cncf.model.weight.v1.gguf", b"1", path="a/b.gguf")
    stray = layer("application/x", b"2", path="x")
    artifact = read(old, stray, config=spec_config(old, stray) | {"extra": {}}, mode="lenient")
    assert [(found.code, found.pointer, found.layer) for found in artifact.deviations] == [
        ("unknown-member", "config-blob#/extra", None),
        ("layer-type-old", "/layers/0/mediaType", 0),
        ("layer-type", "/layers/1/mediaType", 1),
    ]


def test_weights_of_older_docker_model_runners_without_a_name():
    gguf, safetensors = (f"application/vnd.cncf.model.weight.{kind}" for kind in ("v1.gguf", "safetensors"))
    artifact = read(layer(gguf, b"1"), layer(safetensors, b"2"), layer(safetensors, b"3"))
    assert paths(artifact) == ["model.gguf", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert set(codes(artifact)) == {"layer-type-old"}


def test_the_first_modctl_told_layers_apart_by_annotations():
    def early(content: bytes, path: str, flag: str) -> Descriptor:
        return Descriptor(
            media_type="application/vnd.oci.image.layer.v1.tar",
            artifact_type="application/vnd.cnai.model.layer.v1.tar",
            digest=sha256_digest(content),
            size=len(content),
            annotations={mediatypes.CNAI_FILEPATH: path, f"org.cnai.model.{flag}": "true"},
        )

    layers = (early(b"1", "LICENSE", "license"), early(b"2", "foo/bar.json", "config"), early(b"3", "m.bin", "model"))
    manifest = Manifest(
        schema_version=2,
        media_type=mediatypes.OCI_MANIFEST,
        artifact_type=mediatypes.CNAI_ARTIFACT,
        config=Descriptor(media_type=mediatypes.OCI_IMAGE_CONFIG, digest=sha256_digest(b"{}"), size=2),
        layers=layers,
        annotations={"org.cnai.model.name": "Qwen2.5-0.5B", "org.cnai.model.param.size": "0.49B"},
    )
    artifact = read_artifact(manifest, b"{}", mode="strict")
    assert artifact.dialect == "cnai"
    assert [(file.path, file.kind, file.encoding) for file in artifact.files] == [
        ("LICENSE", "doc", "tar"),
        ("foo/bar.json", "weight.config", "tar"),
        ("m.bin", "weight", "tar"),
    ]
    assert {found.severity for found in artifact.deviations} == {"note"}
    assert artifact.config is not None
    assert (artifact.config.descriptor.name, artifact.config.config.param_size) == ("Qwen2.5-0.5B", "0.49B")


def test_kitops_files_are_named_by_the_kitfile():
    kit = mediatypes.KITOPS_LAYER
    model, part = layer(kit + "model.v1.raw", b"1"), layer(kit + "modelpart.v1.tar+zstd", b"2")
    diff_id = sha256_digest(b"uncompressed")
    kitfile = {
        "model": {
            "path": "./model.safetensors",
            "layerInfo": {"digest": model.digest, "diffId": model.digest},
            "parts": [{"path": "lora", "layerInfo": {"digest": part.digest, "diffId": diff_id}}, "nonsense"],
        },
        "docs": [{"path": "README.md"}],
    }
    artifact = read(model, part, config=kitfile, config_type=mediatypes.KITOPS_CONFIG, artifact_type="")
    assert paths(artifact) == ["model.safetensors", "weight-1"]
    assert artifact.config is not None
    assert artifact.config.modelfs.diff_ids == (model.digest, diff_id)


def test_ollama_layers_that_have_names():
    def ollama(short: str, content: bytes, name: str = "") -> Descriptor:
        return Descriptor(
            media_type=mediatypes.OLLAMA_LAYER + short, digest=sha256_digest(content), size=len(content), name=name
        )

    artifact = read(
        ollama("tensor", b"1", "text_encoder/model.embed.weight"),
        ollama("json", b"2", "text_encoder/config.json"),
        ollama("prompt", b"3"),
        ollama("messages", b"4"),
        ollama("template; name=chatml", b"5"),
        ollama("embed", b"6"),
        ollama("tensor", b"7"),
        ollama("tensor; name=model.norm.weight; dtype=F32; shape=1", b"8"),
        ollama("tokenizer.config", b"9"),
        config={},
        config_type=mediatypes.DOCKER_IMAGE_CONFIG,
        artifact_type="",
        media_type=mediatypes.DOCKER_MANIFEST,
    )
    assert paths(artifact) == [
        "text_encoder/model.embed.weight.safetensors",
        "text_encoder/config.json",
        "template",
        "messages.json",
        "template-2",
        "model.norm.weight.safetensors",
        "tokenizer_config.json",
    ]
    assert [(found.severity, found.layer) for found in artifact.deviations] == [("note", 5), ("warning", 6)]


def test_the_first_docker_models():
    artifact = read(
        docker("model.file.v1+gguf", b"1"),
        config={"config": {"format": "gguf"}},
        config_type="application/vnd.docker.ai.model.config.v1+json",
        artifact_type="",
    )
    assert (artifact.dialect, paths(artifact)) == ("docker-v0.1", ["model.gguf"])
