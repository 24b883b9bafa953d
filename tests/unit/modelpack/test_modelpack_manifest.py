"""Manifests and indexes: what is accepted, what is refused, and which of an index is the model."""

from __future__ import annotations

import functools
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack import mediatypes
from modelpack.digests import sha256_digest
from modelpack.errors import InvalidManifest, UnsupportedArtifact
from modelpack.manifest import (
    MAX_MANIFEST_BYTES,
    Descriptor,
    Index,
    Manifest,
    Platform,
    choose_manifest,
    encode_manifest,
    parse_manifest,
)

CONFIG = {"mediaType": mediatypes.CNCF_CONFIG, "digest": sha256_digest(b"{}"), "size": 2}
LAYER = {"mediaType": mediatypes.layer_type("weight"), "digest": sha256_digest(b"w"), "size": 1}
PLAIN = {"schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}


def encoded(changes: dict[str, object] | None = None, **members: object) -> bytes:
    return json.dumps({**PLAIN, **(changes or {}), **members}).encode()


digests = st.from_regex(r"\Asha256:[0-9a-f]{64}\Z")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
descriptors = st.builds(
    Descriptor,
    media_type=st.sampled_from([mediatypes.layer_type(kind) for kind in mediatypes.KINDS]),
    digest=digests,
    size=st.just(3),
    annotations=st.dictionaries(texts, texts, max_size=3),
    artifact_type=texts,
)


@given(
    st.lists(descriptors, max_size=4), descriptors, st.none() | descriptors, st.dictionaries(texts, texts, max_size=2)
)
def test_what_is_encoded_is_parsed_again(layers, config, subject, annotations):
    manifest = Manifest(
        schema_version=2,
        media_type=mediatypes.OCI_MANIFEST,
        config=config,
        layers=tuple(layers),
        subject=subject,
        annotations=annotations,
    )
    raw = encode_manifest(manifest)
    assert parse_manifest(raw) == manifest
    assert encode_manifest(parse_manifest(raw)) == raw


@given(st.binary(max_size=80) | texts.map(lambda text: json.dumps({text: text}).encode()))
def test_any_bytes_are_parsed_or_refused(raw):
    with pytest.raises(InvalidManifest):
        parse_manifest(raw)


def test_null_stands_for_absent_as_go_writes_it():
    manifest = parse_manifest(encoded(layers=None, annotations=None, unknown={"kept": "out"}))
    assert isinstance(manifest, Manifest)
    assert manifest.layers == ()
    assert manifest.annotations == {}


def test_the_media_type_comes_from_the_document_the_registry_or_the_shape():
    bare = {key: value for key, value in PLAIN.items() if key != "mediaType"}
    raw = json.dumps(bare).encode()
    assert parse_manifest(raw).media_type == mediatypes.OCI_MANIFEST
    assert parse_manifest(raw, mediatypes.DOCKER_MANIFEST + "; charset=utf-8").media_type == mediatypes.DOCKER_MANIFEST
    assert parse_manifest(encoded(), "text/plain").media_type == mediatypes.OCI_MANIFEST
    assert isinstance(parse_manifest(b'{"schemaVersion":2,"manifests":[]}'), Index)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (encoded(deep=functools.reduce(lambda inner, _: [inner], range(900), 0)), "nested too deeply"),
        (b'{"schemaVersion":2,' + b",".join(b'"%x":0' % n for n in range(200_000)) + b',"z":0,"z":0}', "'z' appears"),
        (b'{"schemaVersion":2,"schemaVersion":2}', "appears twice"),
        (b'{"a":{"k":1,"k":2}}', "'k' appears twice"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "at most"),
        (encoded(schemaVersion=1), "schemaVersion"),
        (encoded(manifests=[]), "a manifest and an index at once"),
        (encoded(mediaType="text/html"), "its mediaType is 'text/html'"),
        (encoded(mediaType=7), "its mediaType is '7'"),
        (encoded(mediaType=mediatypes.OCI_INDEX), "not those of its mediaType"),
        (json.dumps({"schemaVersion": 2, "layers": []}).encode(), "config"),
        (encoded(layers=[{**LAYER, "size": -1}]), "-1 bytes"),
        (encoded(layers=[{**LAYER, "size": 2**63}]), "bytes"),
        (encoded(layers=[{**LAYER, "size": 1.5}]), "int"),
        (encoded(layers=[{**LAYER, "digest": "sha256:../../etc"}]), "is not a digest"),
        (encoded(layers=[{**LAYER, "digest": "blake3:" + "a" * 64}]), "neither sha256 nor sha512"),
        (encoded(layers=[{**LAYER, "mediaType": ""}]), "has no mediaType"),
        (encoded(layers=[{**LAYER, "annotations": {"a": 1}}]), "str"),
        (encoded(layers=[LAYER, {**LAYER, "size": 9}]), "two sizes"),
        (encoded(subject={**LAYER, "digest": "x"}), "is not a digest"),
    ],
)
def test_refused(raw, says):
    with pytest.raises(InvalidManifest, match=says) as refused:
        parse_manifest(raw)
    assert refused.value.remedy


def test_a_registry_may_not_contradict_the_document():
    with pytest.raises(InvalidManifest, match="calls itself"):
        parse_manifest(encoded(), mediatypes.OCI_INDEX)


def entry(content: bytes, **members: object) -> Descriptor:
    return Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=sha256_digest(content), size=1, **members)  # type: ignore[arg-type]


MODEL = entry(b"model", artifact_type=mediatypes.CNCF_ARTIFACT)
UNTYPED = entry(b"untyped")
IMAGE = entry(b"image", platform=Platform(os="linux", architecture="amd64"))
ATTESTATION = entry(
    b"attestation",
    platform=Platform(os="unknown"),
    annotations={mediatypes.DOCKER_REFERENCE_TYPE: "attestation-manifest"},
)


def index(*entries: Descriptor) -> Index:
    return Index(schema_version=2, media_type=mediatypes.OCI_INDEX, manifests=entries)


def test_the_model_among_images():
    assert choose_manifest(index(IMAGE, ATTESTATION, MODEL, UNTYPED)) == MODEL
    assert choose_manifest(index(IMAGE, UNTYPED)) == UNTYPED
    assert choose_manifest(index(MODEL, MODEL)) == MODEL


def test_an_index_without_a_model_or_with_several():
    with pytest.raises(UnsupportedArtifact, match="no model"):
        choose_manifest(index(ATTESTATION))
    with pytest.raises(UnsupportedArtifact, match="holds 2 models"):
        choose_manifest(index(MODEL, entry(b"other", artifact_type=mediatypes.CNAI_ARTIFACT)))


def test_among_images_alone_the_one_for_this_machine():
    machines = {"x86_64": "amd64", "aarch64": "arm64"}
    here = entry(b"here", platform=Platform(os="linux", architecture=machines.get(os.uname().machine, "other")))
    other = entry(b"other", platform=Platform(os="linux", architecture="s390x"))
    assert choose_manifest(index(other, ATTESTATION, here)) == here
    assert choose_manifest(index(other, ATTESTATION)) == other


def test_an_index_survives_the_round_trip():
    raw = encode_manifest(index(IMAGE, MODEL))
    assert parse_manifest(raw, mediatypes.OCI_INDEX) == index(IMAGE, MODEL)


def test_layer_types():
    for kind in mediatypes.KINDS:
        for encoding in mediatypes.ENCODINGS:
            assert mediatypes.parse_layer_type(mediatypes.layer_type(kind, encoding)) == ("cncf", kind, encoding)
    assert mediatypes.parse_layer_type("application/vnd.cnai.model.doc.v1.tar") == ("cnai", "doc", "tar")
    assert mediatypes.parse_layer_type("application/vnd.cncf.model.doc.v2.tar") is None
    assert mediatypes.encoding_by_suffix("application/vnd.oci.image.layer.v1.tar+gzip") == "tar+gzip"
    assert mediatypes.encoding_by_suffix("application/vnd.docker.image.rootfs.diff.tar.gzip") == "tar+gzip"
    assert mediatypes.encoding_by_suffix("x.tar+zstd") == "tar+zstd"
    assert mediatypes.encoding_by_suffix("application/octet-stream") == "raw"


def test_variants_in_an_index_are_named_and_chosen_by_label():
    """As KitOps 1.17 writes them."""

    def variant(content: bytes, quantization: str) -> dict[str, object]:
        return {
            "mediaType": mediatypes.OCI_MANIFEST,
            "digest": sha256_digest(content),
            "size": len(content),
            "modelMetadata": {"quantization": quantization, "gpus": ["a", "b"]},
            "annotations": {"ml.kitops.modelkit.original-tag": quantization},
        }

    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "artifactType": "application/vnd.kitops.modelkit.index.v1+json",
            "manifests": [variant(b"1", "q4_0"), variant(b"2", "q8_0")],
        }
    ).encode()
    found = parse_manifest(raw)
    assert isinstance(found, Index)
    with pytest.raises(UnsupportedArtifact) as refused:
        choose_manifest(found)
    for words in ("2 models", sha256_digest(b"1"), sha256_digest(b"2"), "quantization=q8_0", "original-tag=q4_0"):
        assert words in refused.value.message
    assert choose_manifest(found, {"quantization": "q8_0"}).digest == sha256_digest(b"2")
    assert choose_manifest(found, {"gpus": '["a","b"]', "quantization": "q4_0"}).digest == sha256_digest(b"1")
    with pytest.raises(UnsupportedArtifact, match=r"no model with quantization=q2_k.*It holds .*q4_0"):
        choose_manifest(found, {"quantization": "q2_k"})


def test_models_for_several_kinds_of_machine():
    here = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    ours = entry(b"1", artifact_type=mediatypes.CNCF_ARTIFACT, platform=Platform(architecture=here, os="linux"))
    other = entry(b"2", artifact_type=mediatypes.CNCF_ARTIFACT, platform=Platform(architecture="s390x", os="linux"))
    assert choose_manifest(index(other, ours)) == ours
    assert choose_manifest(index(other, ours), {"architecture": "s390x"}) == other


def test_strange_members_of_descriptors_are_not_read():
    strange = {"name": 7, "modelMetadata": [], "digest": LAYER["digest"], "size": 1, "mediaType": LAYER["mediaType"]}
    found = parse_manifest(encoded(layers=[strange], subject={**CONFIG, "name": {}}))
    assert isinstance(found, Manifest)
    assert (found.layers[0].name, found.layers[0].model_metadata) == ("", {})
