"""Lint over whatever a manifest, a config and the bytes of its layers are: findings that can be shown, in every form.

An input is the three, with NULs between them; each layer is served the same bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import numpy as np
from safetensors.numpy import save

from modelpack import mediatypes
from modelpack.digests import sha256_digest
from modelpack.errors import ModelPackError
from modelpack.lint import sarif
from modelpack.lint.findings import Findings
from modelpack.lint.models import check_model
from modelpack.manifest import Descriptor, Manifest, encode_manifest, parse_manifest
from modelpack.safetensors_header import ReadRange
from tests.fuzz.target import Target, json_words
from tests.fuzz.targets import artifact, config, tar
from tests.refusals import check_sentence


def seeds() -> Iterator[bytes]:
    weights = save({"a": np.zeros((2, 3), np.float32)}, {"format": "pt"})
    for whole in artifact.seeds():
        yield whole + b"\0" + weights
    manifest, _, _ = next(artifact.seeds()).partition(b"\0")
    for document in config.seeds():
        yield manifest + b"\0" + document + b"\0" + weights
    licenses = b'{"descriptor":{"licenses":["MIT OR (Apache-2.0 WITH LLVM-exception)","(MIT)(MIT)"]}}'
    yield manifest + b"\0" + licenses + b"\0not weights"
    packed = manifest.replace(b"weight.v1.raw", b"weight.v1.tar")
    for archive in list(tar.seeds())[:7:3]:
        yield packed + b"\0{}\0" + archive


def check(data: bytes) -> None:
    raw, _, rest = data.partition(b"\0")
    model_config, _, blob = rest.partition(b"\0")
    try:
        manifest = parse_manifest(raw)
    except ModelPackError:
        return  # the target "manifest" looks at those
    if isinstance(manifest, Manifest):
        check_linted(manifest, model_config, blob)


def check_linted(manifest: Manifest, model_config: bytes, blob: bytes) -> None:
    size = len(model_config)
    fitting = Descriptor(media_type=manifest.config.media_type, digest=sha256_digest(model_config), size=size)
    layers = tuple(msgspec.structs.replace(layer, size=len(blob)) for layer in manifest.layers)
    manifest = msgspec.structs.replace(manifest, config=fitting, layers=layers)

    def reader(layer: Descriptor) -> ReadRange:
        return lambda start, length: blob[start : start + length]

    def opener(layer: Descriptor) -> BinaryIO:
        return io.BytesIO(blob)

    findings = Findings()
    check_model(
        encode_manifest(manifest), manifest, model_config, reader, lambda layer: lambda: opener(layer), findings
    )
    report = findings.report("target", sha256_digest(blob), "cncf")
    for finding in report.findings:
        check_sentence(finding.message)
        assert finding.where.isprintable()
        assert finding.layer is None or 0 <= finding.layer < len(layers)
    json.dumps(report.to_dict())
    assert json.loads(sarif.encode([report], tool="test", version="0"))["version"] == "2.1.0"


WORDS = json_words(
    "licenses precision paramSize authors docURL languages filepath",
    *("MIT AND ", "LicenseRef-x", "float16,int8", "7b", mediatypes.FILEPATH, mediatypes.FILE_METADATA),
    *("model-00001-of-00002.safetensors", "pytorch_model.bin", "consolidated.safetensors", "x.gguf"),
    *(mediatypes.layer_type("weight", "tar+gzip"), mediatypes.layer_type("doc", "tar")),
)
TARGET = Target("lint", check, seeds, WORDS, longest=16 * 1024)
