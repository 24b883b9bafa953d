"""What attaching a file changes in a manifest and a config, and what it leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelpack.attaching import Attaching
from modelpack.digests import sha256_digest
from modelpack.errors import BuildError, UnsafeName, UnsupportedArtifact
from modelpack.manifest import Descriptor, Manifest, parse_manifest

LAYER = sha256_digest(b"weights")
NEW = Descriptor(
    media_type="application/vnd.cncf.model.doc.v1.raw",
    digest=sha256_digest(b"new"),
    size=3,
    annotations={"org.cncf.model.filepath": "NEW.md"},
)


def attaching(vendor: str, config: dict[str, Any], **members: Any) -> Attaching:
    raw = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": f"application/vnd.{vendor}.model.manifest.v1+json",
        "config": {
            "mediaType": f"application/vnd.{vendor}.model.config.v1+json",
            "digest": sha256_digest(raw),
            "size": len(raw),
        },
        "layers": [
            {
                "mediaType": f"application/vnd.{vendor}.model.weight.v1.raw",
                "digest": LAYER,
                "size": 7,
                "annotations": {f"org.{vendor}.model.filepath": "weights.bin", "other": "stays"},
            }
        ],
        **members,
    }
    text = json.dumps(manifest).encode()
    parsed = parse_manifest(text)
    assert isinstance(parsed, Manifest)
    return Attaching(text, parsed, raw)


def test_every_member_stays_known_or_not():
    config = {
        "descriptor": {"name": "m", "authors": ["a"], "licenses": ["MIT"], "ours": 1},
        "config": {"capabilities": {"reasoning": True}},
        "modelfs": {"type": "layers", "diffIds": [LAYER], "more": [1]},
        "unknown": {"b": 1, "a": [2]},
    }
    model = attaching("cncf", config, annotations={"k": "v"}, unknown="stays")
    at = model.replaced("NEW.md", force=False)
    made = json.loads(model.config_with(NEW.digest, at))
    modelfs = {"type": "layers", "diffIds": [LAYER, NEW.digest], "more": [1]}
    assert made == {**config, "modelfs": modelfs}
    assert list(made) == list(config)
    described = Descriptor(media_type=model.manifest.config.media_type, digest=NEW.digest, size=1)
    manifest = json.loads(model.manifest_with(described, NEW, at))
    before = json.loads(model.raw)
    assert manifest["layers"][:1] == before["layers"]
    assert manifest["layers"][1]["digest"] == NEW.digest
    assert {**manifest, "layers": 0, "config": 0} == {**before, "layers": 0, "config": 0}


def test_an_old_model_is_added_to_in_its_own_words():
    model = attaching("cnai", {"descriptor": {}, "config": {}, "modelfs": {"type": "layers", "diff_ids": [LAYER]}})
    layer = model.in_its_words(NEW)
    assert layer.media_type == "application/vnd.cnai.model.doc.v1.raw"
    assert layer.annotations == {"org.cnai.model.filepath": "NEW.md"}
    assert json.loads(model.config_with(NEW.digest, None))["modelfs"]["diff_ids"] == [LAYER, NEW.digest]


def test_paths_are_checked_with_those_that_are_there():
    model = attaching("cncf", {"descriptor": {}, "config": {}, "modelfs": {"type": "layers", "diffIds": [LAYER]}})
    with pytest.raises(BuildError, match=r"weights.bin already"):
        model.replaced("weights.bin", force=False)
    assert model.replaced("weights.bin", force=True) == 0
    for path in ("Weights.bin", "weights.bin/x", "../x", "/x"):
        with pytest.raises(UnsafeName):
            model.replaced(path, force=True)


def test_what_cannot_be_added_to():
    with pytest.raises(UnsupportedArtifact, match="lists their layers"):
        attaching("cncf", {})
