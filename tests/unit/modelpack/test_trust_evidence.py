"""What is looked at of signatures that anybody may push: never more than a bound, never less than what counts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from modelpack import mediatypes
from modelpack.errors import InvalidSignature
from modelpack.layout import OciLayout
from modelpack.manifest import Manifest, encode_manifest
from modelpack.referrers import EMPTY, EMPTY_CONFIG, SIGSTORE_BUNDLE, attachment
from modelpack.trust.bundles import MAX_BUNDLE, make_bundle, parse_bundle
from modelpack.trust.dsse import Envelope
from modelpack.trust.evidence import MAX_TOGETHER, gather
from modelpack.trust.judging import judge
from modelpack.trust.keys import generate
from modelpack.trust.policy import Policy, Rule
from modelpack.trust.shelf import LayoutShelf
from modelpack.trust.statements import sign_statement


def test_large_bundles_in_front_of_the_one_that_counts(tmp_path: Path) -> None:
    layout, key = OciLayout.create(tmp_path / "layout"), generate()
    model = Manifest(schema_version=2, media_type=mediatypes.OCI_MANIFEST, config=EMPTY_CONFIG, layers=())
    layout.blobs.add(EMPTY, EMPTY_CONFIG.media_type)
    described = layout.add_manifest(encode_manifest(model), "v1")
    for number in range(MAX_TOGETHER // MAX_BUNDLE + 1):
        layout.add_referrer(attachment(described, SIGSTORE_BUNDLE, b"%d" % number + bytes(MAX_BUNDLE - 1)))
    signed = attachment(described, SIGSTORE_BUNDLE, make_bundle(sign_statement(described.digest), key))
    layout.add_referrer(signed)
    evidence = asyncio.run(gather(LayoutShelf(layout), (described.digest,), model, EMPTY, ("bundle",)))
    assert sum(len(found.data) for found in evidence.found) <= MAX_TOGETHER
    assert any("more than" in found.problem for found in evidence.found)
    rule = Rule(1, ("**",), (key.public,))
    verdict = judge(Policy(tmp_path / "policy.toml", (rule,), ""), rule, "model", evidence)
    assert verdict.where == f"the bundle {signed.digest}"


def test_what_a_key_signed_as_something_else_is_no_statement() -> None:
    key, payload = generate(), sign_statement("sha256:" + "1" * 64)
    document = json.loads(make_bundle(payload, key))
    other = Envelope("application/json", payload, ())
    document["dsseEnvelope"] = Envelope("application/json", payload, (key.sign(other.signed),)).document()
    with pytest.raises(InvalidSignature, match="signs 'application/json', not"):
        parse_bundle(json.dumps(document).encode())
