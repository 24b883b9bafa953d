"""Identities and OpenSSF model-signing under a policy, in a real registry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import model_signing
import pytest

from modeldist.artifact import Artifact
from modeldist.errors import Untrusted
from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings
from modeldist.origins.trust_gate import policy_at
from modelpack.chunk_table import CHUNK_TABLE_TYPE
from modelpack.manifest import Descriptor
from modelpack.referrers import SIGSTORE_BUNDLE, attachment
from modelpack.trust.bundles import make_bundle
from modelpack.trust.statements import sign_statement
from tests.servers.registry import Registry
from tests.servers.shell import Shell
from tests.servers.signed_models import WEIGHTS, Keys, SignedModel, policy
from tests.servers.small_sigstore import ISSUER, SmallSigstore

WORKFLOW = "https://github.com/org/models/.github/workflows/release.yml@refs/tags/v1"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def model(tmp_path: Path, registry: Registry, request: pytest.FixtureRequest) -> SignedModel:
    return SignedModel(tmp_path, registry, f"org/{request.node.name.replace('_', '-')}", seed=hash(request.node.name))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.make(tmp_path, "release")


def resolve(model: SignedModel, rules: Path) -> Artifact:
    async def run() -> Artifact:
        origins = Origins(OriginSettings(policy=policy_at(rules)))
        try:
            return await origins.resolve(model.reference)
        finally:
            await origins.close()

    model.registry.clear_log()
    try:
        return asyncio.run(run())
    finally:
        assert [read for read in model.weight_reads() if read.blob == model.weights.digest] == []


def signed_files(model: SignedModel, keys: Keys, home: Path) -> bytes:
    """By model-signing itself, over a directory of the model's files."""
    directory = home / "directory"
    directory.mkdir()
    for name, data in model.files.items():
        (directory / name).write_bytes(data)
    signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=keys.secret)
    signing.sign(directory, home / "model.sig")
    return (home / "model.sig").read_bytes()


def test_an_identity_is_accepted_and_another_is_not(model: SignedModel, tmp_path: Path) -> None:
    sigstore = SmallSigstore()
    sigstore.trust_root(tmp_path / "root.json")
    rule = {"issuer": ISSUER, "subject": WORKFLOW, "trust_root": "root.json"}
    rules = policy(tmp_path, {"references": ["**"], "identities": [rule]})
    model.attach_bundle(sigstore.sign(sign_statement(model.digest), "https://github.com/fork/models"))
    with pytest.raises(Untrusted, match=r"signed by https://github\.com/fork/models"):
        resolve(model, rules)
    model.attach_bundle(SmallSigstore().sign(sign_statement(model.digest), WORKFLOW))  # an authority of its own
    model.attach_bundle(sigstore.sign(sign_statement("sha256:" + "5" * 64), WORKFLOW))
    with pytest.raises(Untrusted, match="of 3 signatures none counts"):
        resolve(model, rules)
    model.attach_bundle(sigstore.sign(sign_statement(model.digest), WORKFLOW))
    assert resolve(model, rules).chunks


def test_a_list_of_files_counts_where_the_policy_says_so(model: SignedModel, keys: Keys, tmp_path: Path) -> None:
    model.attach_bundle(signed_files(model, keys, tmp_path))
    with pytest.raises(Untrusted, match="of the form 'openssf', which rule 1 does not accept"):
        resolve(model, policy(tmp_path, {"references": ["**"], "keys": [str(keys.public)]}))
    accepting = policy(tmp_path, {"references": ["**"], "keys": [str(keys.public)], "accept": ["openssf"]})
    assert resolve(model, accepting).files


def test_a_list_of_files_says_nothing_of_a_chunk_table(model: SignedModel, keys: Keys, tmp_path: Path) -> None:
    """Whoever can push may put another manifest with the same layers under the tag, and a table of his own with it."""
    model.attach_bundle(signed_files(model, keys, tmp_path))
    rule = {"references": ["**"], "keys": [str(keys.public)], "accept": ["openssf", "bundle"]}
    assert resolve(model, policy(tmp_path, rule)).chunks == ()
    asking = policy(tmp_path, rule | {"chunk_table": True})
    with pytest.raises(Untrusted, match="no chunk table that an accepted signature covers"):
        resolve(model, asking)
    table = attachment(model.descriptor, CHUNK_TABLE_TYPE, model.raw_table)
    about = Descriptor(media_type=table.manifest.media_type, digest=table.digest, size=len(table.raw))
    model.attach(attachment(about, SIGSTORE_BUNDLE, make_bundle(sign_statement(table.digest), keys.key)))
    assert resolve(model, asking).chunks


def test_the_signature_may_be_a_file_of_the_model(keys: Keys, registry: Registry, tmp_path: Path) -> None:
    unsigned = SignedModel(tmp_path, registry, "org/unsigned-files", seed=1)
    signature = signed_files(unsigned, keys, tmp_path)
    model = SignedModel(tmp_path, registry, "org/signed-files", seed=1, files={"model.sig": signature})
    rules = policy(tmp_path, {"references": ["**"], "keys": [str(keys.public)], "accept": ["openssf"]})
    assert {file.path for file in resolve(model, rules).files} == {"config.json", WEIGHTS, "model.sig"}
    other = SignedModel(tmp_path, registry, "org/other-files", seed=2, files={"model.sig": signature})
    with pytest.raises(Untrusted, match=f"The model has other content in {WEIGHTS}"):
        resolve(other, rules)
    more = {"model.sig": signature, "tokenizer.json": b"[]"}
    with pytest.raises(Untrusted, match=r"The model has, unsigned, tokenizer\.json"):
        resolve(SignedModel(tmp_path, registry, "org/more-files", seed=1, files=more), rules)


def test_a_directory_is_held_against_its_own_list(shell: Shell, model: SignedModel, keys: Keys, tmp_path: Path) -> None:
    signature = signed_files(model, keys, tmp_path)
    directory = tmp_path / "directory"
    said = shell.fails(21, "trust", str(directory), "--key", str(keys.public))
    assert "has no model.sig" in said
    (directory / "model.sig").write_bytes(signature)
    done = shell.run("trust", str(directory), "--key", str(keys.public))
    assert done.stdout == f"{directory}: 2 files, signed by {keys.public}\n", done.stderr
    (directory / "config.json").write_bytes(b"[]")
    said = shell.fails(21, "trust", str(directory), "--key", str(keys.public))
    assert "has other content in config.json" in said
