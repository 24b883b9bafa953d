"""Whole artifacts of all dialects: a manifest and its config, read in both modes.

An input is the manifest's bytes, a NUL, and the config's; the manifest's descriptor of the config is made to fit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import msgspec

from modelpack import mediatypes
from modelpack.artifact import ModelArtifact, read_artifact
from modelpack.digests import sha256_digest
from modelpack.errors import ModelPackError
from modelpack.inspect import describe
from modelpack.manifest import Descriptor, Manifest, parse_manifest
from modelpack.names import check_names
from tests.fuzz.target import Target, json_words
from tests.refusals import check_deviations, value_of


def seeds() -> Iterator[bytes]:
    metadata = '{"name":"m","mode":420,"uid":0,"gid":0,"size":7,"mtime":"2025-01-01T00:00:00Z","typeflag":0}'
    named = {mediatypes.FILEPATH: "sub/m.safetensors", mediatypes.FILE_METADATA: metadata}
    config = b'{"descriptor":{},"config":{},"modelfs":{"type":"layers","diffIds":["%s"]}}' % (b"sha256:" + b"1" * 64)
    yield _input(mediatypes.CNCF_ARTIFACT, mediatypes.CNCF_CONFIG, mediatypes.layer_type("weight"), named, config)
    yield _input("", mediatypes.CNAI_CONFIG, "application/vnd.cnai.model.doc.v1.tar", {mediatypes.TITLE: "d"}, b"{}")
    docker = "application/vnd.docker.ai.model.config.v0.1+json"
    yield _input("", docker, "application/vnd.docker.ai.gguf.v3", {}, b'{"rootfs":{"diff_ids":["x"]}}')
    kit = b'{"package":{"name":"k","authors":["a"]},"model":{"framework":"gguf","license":"MIT"}}'
    yield _input("", mediatypes.KITOPS_CONFIG, "application/vnd.kitops.modelkit.model.v1.tar+gzip", {}, kit)
    ollama = "application/vnd.ollama.image.model"
    yield _input("", mediatypes.DOCKER_IMAGE_CONFIG, ollama, {}, b'{"model_format":"gguf","model_type":"7B"}')
    unpacked = {mediatypes.TITLE: "d", "io.deis.oras.content.unpack": "true"}
    yield _input("application/vnd.unknown.artifact.v1", mediatypes.OCI_EMPTY, "text/plain", unpacked, b"{}")
    image = "application/vnd.oci.image.layer.v1.tar+gzip"
    yield _input("", "application/vnd.oci.image.config.v1+json", image, {}, b'{"rootfs":{"diff_ids":[]}}')


def _input(artifact: str, config_type: str, layer: str, annotations: dict[str, str], config: bytes) -> bytes:
    manifest = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": {"mediaType": config_type, "digest": sha256_digest(config), "size": len(config)},
        "layers": [{"mediaType": layer, "digest": "sha256:" + "1" * 64, "size": 7, "annotations": annotations}],
    }
    return json.dumps(manifest | ({"artifactType": artifact} if artifact else {})).encode() + b"\0" + config


def check(data: bytes) -> None:
    raw, _, config = data.partition(b"\0")
    try:
        manifest = parse_manifest(raw)
    except ModelPackError:
        return  # the target "manifest" looks at those
    if not isinstance(manifest, Manifest):
        return
    fitting = Descriptor(media_type=manifest.config.media_type, digest=sha256_digest(config), size=len(config))
    check_artifact(msgspec.structs.replace(manifest, config=fitting), config)


def check_artifact(manifest: Manifest, config: bytes) -> None:
    strict, lenient = (value_of(partial(read_artifact, manifest, config, mode=mode)) for mode in ("strict", "lenient"))
    for artifact in (strict, lenient):
        if artifact is not None:
            _check(artifact, manifest)
    if strict is not None:  # what strict mode takes, lenient mode reads alike
        assert lenient == strict
        assert all(deviation.severity != "error" for deviation in strict.deviations)


def _check(artifact: ModelArtifact, manifest: Manifest) -> None:
    check_deviations(artifact.deviations)
    check_names(file.path for file in artifact.files if file.encoding == "raw")
    assert all(file.descriptor in manifest.layers for file in artifact.files)
    pointer = Descriptor(media_type=manifest.media_type, digest="sha256:" + "0" * 64, size=1)
    summary = describe(artifact, pointer)
    assert msgspec.json.decode(msgspec.json.encode(summary), type=type(summary)) == summary
    assert sum(summary.kinds.values()) == artifact.size


WORDS = json_words(
    "config layers annotations descriptor modelfs diffIds rootfs diff_ids parameters",
    *("../x", "/x", "a/", "a\0", mediatypes.FILEPATH, mediatypes.TITLE, mediatypes.FILE_METADATA),
    *("application/vnd.docker.ai.model.file", "application/vnd.ollama.image.license", mediatypes.OCI_EMPTY),
    *(mediatypes.layer_type("dataset", "tar+zstd"), mediatypes.layer_type("code"), mediatypes.CNCF_CONFIG),
)
TARGET = Target("artifact", check, seeds, WORDS)
