"""Manifests and indexes: parsed as the registry calls them, encoded again, parsed to the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from modelpack import mediatypes
from modelpack.errors import UnsupportedArtifact
from modelpack.manifest import Index, Manifest, choose_manifest, encode_manifest, parse_manifest
from tests.fuzz.target import Target, json_words
from tests.refusals import value_of

DIGEST = "sha256:" + "0" * 64
_CALLED = (None, mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX, "text/plain; charset=utf-8")


def seeds() -> Iterator[bytes]:
    layer = {
        "mediaType": mediatypes.layer_type("weight"),
        "digest": "sha256:" + "1" * 64,
        "size": 7,
        "annotations": {mediatypes.FILEPATH: "model.safetensors"},
    }
    config = {"mediaType": mediatypes.CNCF_CONFIG, "digest": DIGEST, "size": 2, "data": "e30="}
    manifest = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "artifactType": mediatypes.CNCF_ARTIFACT,
        "config": config,
        "layers": [layer],
        "annotations": {"org.opencontainers.image.created": "2025-01-01T00:00:00Z"},
    }
    yield json.dumps(manifest).encode()
    yield json.dumps(manifest | {"layers": None, "subject": config, "annotations": None}).encode()
    entry = {
        "mediaType": mediatypes.OCI_MANIFEST,
        "digest": DIGEST,
        "size": 9,
        "artifactType": mediatypes.CNCF_ARTIFACT,
    }
    machine = {"os": "linux", "architecture": "amd64", "os.version": "", "os.features": ["x"], "variant": "v1"}
    index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [entry, layer | {"platform": machine}]}
    yield json.dumps(index).encode()
    yield b'{"schemaVersion":2,"mediaType":[],"layers":[[[]]],"schemaVersion":2}'


def check(data: bytes) -> None:
    for called in _CALLED:
        found = value_of(partial(parse_manifest, data, called), naming="manifest")
        if found is not None:
            check_found(found)


def check_found(found: Manifest | Index) -> None:
    """It is written so that it is read as the same, wherever it comes from."""
    assert parse_manifest(encode_manifest(found)) == found
    if isinstance(found, Index):
        try:
            assert choose_manifest(found) in found.manifests
        except UnsupportedArtifact:
            value_of(partial(choose_manifest, found))


WORDS = json_words(
    "schemaVersion mediaType artifactType config layers manifests subject annotations digest size urls data",
    *("platform", "os", "os.features", DIGEST, "sha512:" + "0" * 128),
    *sorted(mediatypes.MANIFESTS | mediatypes.INDEXES),
)
TARGET = Target("manifest", check, seeds, WORDS)
