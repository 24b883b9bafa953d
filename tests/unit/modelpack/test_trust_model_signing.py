"""OpenSSF model-signing: what the real package signs is compared with a manifest's layers, and with a directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import model_signing
import pytest

from modelpack.artifact import ModelFile, read_artifact
from modelpack.build import build
from modelpack.errors import InvalidSignature
from modelpack.layout import OciLayout
from modelpack.trust.bundles import make_bundle, parse_bundle
from modelpack.trust.keys import PrivateKey, generate
from modelpack.trust.model_signing import signed_files


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return generate()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    (directory / "sub").mkdir(parents=True)
    (directory / "config.json").write_text('{"a": 1}')
    (directory / "model.safetensors").write_bytes(bytes(range(256)) * 300)
    (directory / "sub" / "tokenizer.json").write_text("{}")
    return directory


def signed(directory: Path, key: PrivateKey, config: Any = None) -> bytes:
    """By the real package; the bundle it wrote."""
    pem = directory.parent / "key.pem"
    pem.write_bytes(key.pem())
    signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=pem)
    if config is not None:
        signing.set_hashing_config(config)
    path = directory.parent / "model.sig"
    signing.sign(directory, path)
    return path.read_bytes()


def layers(directory: Path) -> tuple[ModelFile, ...]:
    layout = OciLayout.create(directory.parent / "layout")
    build(directory, layout, ref="v1")
    manifest = layout.manifest("v1")[1]
    return read_artifact(manifest, layout.blobs.read(manifest.config), mode="strict").files


def payload(raw: bytes, key: PrivateKey) -> bytes:
    bundle = parse_bundle(raw)
    assert bundle.signed_by([generate().public]) is None
    assert bundle.signed_by([key.public]) == key.public
    return bundle.envelope.payload


def test_a_signature_over_a_directory_vouches_for_the_layers_built_from_it(directory: Path, key: PrivateKey) -> None:
    files = signed_files(payload(signed(directory, key), key))
    files.check_layers(layers(directory))
    files.check_directory(directory)


def test_what_we_sign_over_its_list_the_real_package_verifies(directory: Path, key: PrivateKey) -> None:
    statement = parse_bundle(signed(directory, key)).envelope.payload
    document = json.loads(make_bundle(statement, key))
    del document["verificationMaterial"]["publicKey"]["hint"]  # its own hints are over PEM
    (directory.parent / "ours.sig").write_text(json.dumps(document))
    (directory.parent / "key.pub").write_bytes(key.public.pem())
    model_signing.verifying.Config().use_elliptic_key_verifier(public_key=directory.parent / "key.pub").verify(
        directory, directory.parent / "ours.sig"
    )


def test_files_that_are_others_missing_or_unsigned(directory: Path, key: PrivateKey) -> None:
    files = signed_files(payload(signed(directory, key), key))
    (directory / "config.json").write_text('{"a": 2}')
    for check in (lambda: files.check_layers(layers(directory)), lambda: files.check_directory(directory)):
        with pytest.raises(InvalidSignature, match=r"has other content in config\.json"):
            check()
    (directory / "config.json").write_text('{"a": 1}')
    (directory / "more.safetensors").write_bytes(b"more")
    for check in (lambda: files.check_layers(layers(directory)), lambda: files.check_directory(directory)):
        with pytest.raises(InvalidSignature, match=r"has, unsigned, more\.safetensors"):
            check()
    (directory / "more.safetensors").unlink()
    (directory / "sub" / "tokenizer.json").unlink()
    for check in (lambda: files.check_layers(layers(directory)), lambda: files.check_directory(directory)):
        with pytest.raises(InvalidSignature, match=r"lacks sub/tokenizer\.json"):
            check()


def test_lists_that_cannot_be_compared(directory: Path, key: PrivateKey) -> None:
    hashing = model_signing.hashing.Config().use_file_serialization(hashing_algorithm="blake2")
    with pytest.raises(InvalidSignature, match="only whole files by sha256"):
        signed_files(payload(signed(directory, key, hashing), key))
    sharded = model_signing.hashing.Config().use_shard_serialization()
    with pytest.raises(InvalidSignature, match=r"only whole files by sha256|malformed"):
        signed_files(payload(signed(directory, key, sharded), key))


@pytest.mark.parametrize("change", ["root", "name", "twice", "digest", "predicate"])
def test_lists_that_contradict_themselves(directory: Path, key: PrivateKey, change: str) -> None:
    statement = json.loads(payload(signed(directory, key), key))
    resources = statement["predicate"]["resources"]
    if change == "root":
        statement["subject"][0]["digest"]["sha256"] = "0" * 64
    elif change == "name":
        resources[0]["name"] = 7
    elif change == "twice":
        resources.append(resources[0])
    elif change == "digest":
        resources[0]["digest"] = "A" * 64
    else:
        statement["predicateType"] = "https://sigstore.dev/cosign/sign/v1"
    with pytest.raises(InvalidSignature):
        signed_files(json.dumps(statement).encode())


def test_what_a_signer_leaves_out_is_unsigned_unless_it_is_gits(directory: Path, key: PrivateKey) -> None:
    """Else a signature over a README would vouch for any weights beside it."""
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=["model.safetensors"], ignore_git_paths=True)
    (directory / ".gitattributes").write_text("*.safetensors filter=lfs")
    files = signed_files(payload(signed(directory, key, hashing), key))
    with pytest.raises(InvalidSignature, match=r"has, unsigned, model\.safetensors\."):
        files.check_directory(directory)


def test_a_link_to_a_directory_is_not_passed_over(directory: Path, key: PrivateKey) -> None:
    files = signed_files(payload(signed(directory, key), key))
    (directory / "linked").symlink_to(directory.parent, target_is_directory=True)
    with pytest.raises(InvalidSignature, match="is a link to a directory"):
        files.check_directory(directory)
