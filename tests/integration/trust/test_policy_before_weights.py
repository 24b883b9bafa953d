"""Under a policy nothing of a model is read that no accepted signature vouches for: the registry's log shows it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from modeldist.artifact import Artifact
from modeldist.errors import ModeldistError
from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings
from modeldist.origins.trust_gate import policy_at
from modelpack.chunk_table import CHUNK_TABLE_ANNOTATION, CHUNK_TABLE_TYPE, BlobChunks, ChunkTable, encode_table
from modelpack.digests import sha256_digest
from modelpack.manifest import Descriptor, Manifest, encode_manifest
from modelpack.oci import RegistryClient
from modelpack.referrers import SIGSTORE_BUNDLE, attachment
from modelpack.trust.bundles import make_bundle
from modelpack.trust.dsse import IN_TOTO, Envelope
from modelpack.trust.evidence import COSIGN_SIGNATURE, legacy_tag
from modelpack.trust.statements import SIMPLE_SIGNING, STATEMENT, sign_statement, simple_signing
from tests.servers.registry import Registry
from tests.servers.shell import Shell
from tests.servers.signed_models import SIZE, WEIGHTS, Keys, SignedModel, policy

UNTRUSTED = 21


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.make(tmp_path, "release")


@pytest.fixture
def model(tmp_path: Path, registry: Registry, request: pytest.FixtureRequest) -> SignedModel:
    """Of each test's own: the registry keeps what was attached to others."""
    return SignedModel(tmp_path, registry, f"org/{request.node.name.replace('_', '-')}", seed=hash(request.node.name))


@pytest.fixture
def rules(tmp_path: Path, keys: Keys) -> Path:
    return policy(tmp_path, {"references": ["127.0.0.1:*/org/*"], "keys": [str(keys.public)]})


def pull_refused(shell: Shell, model: SignedModel, rules: Path, code: int = UNTRUSTED) -> str:
    """A pull that has to fail before any byte of a layer was asked for; what it says."""
    model.registry.clear_log()
    said = shell.fails(code, "pull", "--policy", str(rules), model.reference)
    assert model.weight_reads() == []
    return said


def refused(model: SignedModel, rules: Path, code: int = UNTRUSTED) -> str:
    """The same where every pull asks, in this process: what resolving says."""

    async def resolve() -> None:
        origins = Origins(OriginSettings(policy=policy_at(rules)))
        try:
            await origins.resolve(model.reference)
        finally:
            await origins.close()

    model.registry.clear_log()
    with pytest.raises(ModeldistError) as error:
        asyncio.run(resolve())
    assert error.value.exit_code == code
    assert model.weight_reads() == []
    return str(error.value)


def test_a_signed_model_passes(shell: Shell, model: SignedModel, keys: Keys, rules: Path) -> None:
    done = shell.run("sign", model.reference, "--key", str(keys.secret), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "reference": f"{model.ref.name}@{model.digest}",
        "digest": model.digest,
        "key": keys.key.public.fingerprint,
    }
    path = shell.pull(model.reference, "--policy", str(rules))
    assert (path / WEIGHTS).read_bytes() == model.files[WEIGHTS]
    said = shell.run("trust", model.reference, "--key", str(keys.public))
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(f"{model.ref.name}@{model.digest}: signed by {keys.public} (the bundle sha256:")


def test_an_unsigned_model(shell: Shell, model: SignedModel, rules: Path) -> None:
    said = pull_refused(shell, model, rules)
    assert f"{model.ref.name}@{model.digest} is refused by rule 1 of the policy {rules}: it has no signature." in said
    assert f"modeldist sign {model.ref.name}@{model.digest} --key" in said


def test_a_plan_reads_no_header(shell: Shell, model: SignedModel, keys: Keys, rules: Path) -> None:
    model.registry.clear_log()
    shell.environment["MODELDIST_POLICY"] = str(rules)
    shell.fails(UNTRUSTED, "plan", model.reference, "--rank", "tp=0/2")
    assert model.weight_reads() == []
    assert shell.run("sign", model.reference, "--key", str(keys.secret)).returncode == 0
    done = shell.run("plan", model.reference, "--kind", "weight", "--json")
    assert json.loads(done.stdout)["whole"] == model.digest


def test_a_fetch_of_files(shell: Shell, model: SignedModel, keys: Keys, rules: Path, tmp_path: Path) -> None:
    model.registry.clear_log()
    shell.fails(UNTRUSTED, "fetch", model.reference, "-o", str(tmp_path / "files"), "--policy", str(rules))
    assert model.weight_reads() == []
    assert not (tmp_path / "files").exists()
    assert shell.run("sign", model.reference, "--key", str(keys.secret)).returncode == 0
    shell.environment["MODELDIST_POLICY"] = str(rules)
    done = shell.run("fetch", model.reference, "-o", str(tmp_path / "files"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "files" / WEIGHTS).read_bytes() == model.files[WEIGHTS]


def test_a_copy_to_another_repository(shell: Shell, model: SignedModel, keys: Keys, rules: Path) -> None:
    target = f"{model.ref.registry}/elsewhere/{model.ref.repository}:v1"
    model.registry.clear_log()
    shell.fails(UNTRUSTED, "copy", model.reference, target, "--policy", str(rules))
    assert model.weight_reads() == []
    shell.fails(4, "inspect", target)
    assert shell.run("sign", model.reference, "--key", str(keys.secret)).returncode == 0
    shell.environment["MODELDIST_POLICY"] = str(rules)
    done = shell.run("copy", model.reference, target)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{target.removesuffix(':v1')}@{model.digest}"
    assert shell.run("inspect", target).returncode == 0


def test_a_signature_by_another_key(model: SignedModel, rules: Path, tmp_path: Path) -> None:
    stranger = Keys.make(tmp_path, "stranger")
    for _ in range(2):
        model.attach_bundle(make_bundle(sign_statement(model.digest), stranger.key))
    assert "of 2 signatures none counts" in refused(model, rules)


def test_a_tampered_signature(model: SignedModel, keys: Keys, rules: Path) -> None:
    bundle = json.loads(make_bundle(sign_statement(model.digest), keys.key))
    signature = bytearray(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    signature[-1] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    model.attach_bundle(json.dumps(bundle).encode())
    assert "1 signature was found, and it does not count" in refused(model, rules)


def test_a_signature_whose_bytes_were_changed_in_the_registry(model: SignedModel, keys: Keys, rules: Path) -> None:
    bundle = make_bundle(sign_statement(model.digest), keys.key)
    what = attachment(model.descriptor, SIGSTORE_BUNDLE, bundle)
    model.attach(what)
    model.replace_blob(what.blobs[1][0].digest, bundle.replace(b'"sig"', b'"Sig"'))
    assert "1 signature was found, and it does not count" in refused(model, rules)


def test_a_statement_that_was_exchanged_under_its_signature(model: SignedModel, keys: Keys, rules: Path) -> None:
    bundle = json.loads(make_bundle(sign_statement("sha256:" + "0" * 64), keys.key))
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(sign_statement(model.digest)).decode()
    model.attach_bundle(json.dumps(bundle).encode())
    assert "signed by none of the accepted keys, or was changed since" in refused(model, rules)


def test_a_signature_of_another_model_moved_over(
    model: SignedModel, keys: Keys, rules: Path, registry: Registry, tmp_path: Path
) -> None:
    """It refers to this model, as the registry lists it; what was signed is about the other."""
    other = SignedModel(tmp_path, registry, "org/other", seed=2)
    model.attach_bundle(make_bundle(sign_statement(other.digest), keys.key))
    assert f"It is a signature of {other.digest}, not of this model" in refused(model, rules)


def test_another_statement_about_the_model_is_no_signature(model: SignedModel, keys: Keys, rules: Path) -> None:
    statement = {
        "_type": STATEMENT,
        "subject": [{"digest": {"sha256": model.digest.partition(":")[2]}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {},
    }
    model.attach_bundle(make_bundle(json.dumps(statement).encode(), keys.key))
    assert "'https://slsa.dev/provenance/v1', not a signature of the manifest" in refused(model, rules)


def test_a_certificate_nobody_vouches_for(model: SignedModel, keys: Keys, rules: Path) -> None:
    """With an accepted key's own signature inside: a key in a certificate is only its holder's claim."""
    bundle = json.loads(make_bundle(sign_statement(model.digest), keys.key))
    bundle["verificationMaterial"] = {"certificate": {"rawBytes": base64.b64encode(b"any").decode()}}
    model.attach_bundle(json.dumps(bundle).encode())
    assert "rule 1 accepts no identity" in refused(model, rules)


def test_an_older_form_counts_only_where_the_policy_says_so(
    shell: Shell, model: SignedModel, keys: Keys, rules: Path, tmp_path: Path
) -> None:
    assert shell.run("sign", model.reference, "--key", str(keys.secret), "--legacy").returncode == 0
    bundles = shell.run("trust", model.reference, "--key", str(keys.public), "--json")
    assert [found["form"] for found in json.loads(bundles.stdout)["signatures"]] == ["bundle", "legacy"]
    only_legacy = SignedModel(tmp_path, model.registry, "org/old", seed=3)
    copied = _legacy_only(only_legacy, keys)
    assert "it has no signature" in refused(only_legacy, rules)
    said = shell.run("trust", only_legacy.reference, "--key", str(keys.public), "--json")
    assert said.returncode == UNTRUSTED
    assert "which rule 1 does not accept" in json.loads(said.stdout)["signatures"][0]["problem"]
    assert copied in said.stdout
    allowing = policy(tmp_path, {"references": ["127.0.0.1:*/org/*"], "keys": [str(keys.public)], "accept": ["legacy"]})
    assert (shell.pull(only_legacy.reference, "--policy", str(allowing)) / WEIGHTS).stat().st_size == SIZE


def test_an_older_signature_of_another_model_moved_over(
    model: SignedModel, keys: Keys, registry: Registry, tmp_path: Path
) -> None:
    allowing = policy(tmp_path, {"references": ["**"], "keys": [str(keys.public)], "accept": ["bundle", "legacy"]})
    other = SignedModel(tmp_path, registry, "org/other", seed=2)
    _legacy_only(model, keys, about=other.digest)
    assert f"It is a signature of {other.digest}, not of this model" in refused(model, allowing)


def test_a_tampered_chunk_table(shell: Shell, model: SignedModel, keys: Keys, rules: Path) -> None:
    """With and without a policy: what the manifest names and what the registry gives out are two things."""
    assert shell.run("sign", model.reference, "--key", str(keys.secret)).returncode == 0
    named = model.manifest.annotations["org.modeldist.chunk-table"]
    model.replace_blob(named, model.raw_table.replace(b'"blake3"', b'"BLAKE3"'))
    assert "chunk table" in pull_refused(shell, model, rules, code=10)
    model.registry.clear_log()
    assert named in shell.fails(10, "pull", model.reference)
    assert model.weight_reads() == []


def test_a_chunk_table_that_contradicts_the_manifest(
    shell: Shell, keys: Keys, rules: Path, registry: Registry, tmp_path: Path
) -> None:
    """Named by a manifest that is signed: its publisher made a mistake, or worse."""
    spoilt = SignedModel(tmp_path, registry, "org/spoilt", table=False)
    liar = BlobChunks(spoilt.weights.digest, SIZE + 1, 256 * 1024, bytes(4 * 32))
    raw = encode_table(ChunkTable((liar,)))

    manifest = msgspec.structs.replace(spoilt.manifest, annotations={CHUNK_TABLE_ANNOTATION: sha256_digest(raw)})

    async def put() -> None:
        async with RegistryClient() as client:
            await client.upload_blob(spoilt.ref, raw, sha256_digest(raw), len(raw))
            await client.put_manifest(spoilt.ref, encode_manifest(manifest), manifest.media_type)

    asyncio.run(put())
    assert shell.run("sign", spoilt.reference, "--key", str(keys.secret)).returncode == 0
    assert f"{spoilt.weights.digest} has {SIZE + 1} bytes in it and {SIZE} in the manifest" in refused(
        spoilt, rules, code=10
    )


def test_a_chunk_table_that_is_gone_costs_a_warning_until_it_is_back(shell: Shell, model: SignedModel) -> None:
    value = model.manifest.annotations[CHUNK_TABLE_ANNOTATION].partition(":")[2]
    links = f"docker/registry/v2/repositories/{model.repository}/_layers/sha256/{value}/link"
    (link,) = model.registry.storage.glob(links)
    text = link.read_text()
    link.unlink()
    for _ in range(2):
        done = shell.run("pull", "--verbose", model.reference)
        assert done.returncode == 0, done.stderr
        assert "The chunk table of this model cannot be read" in " ".join(done.stderr.split())
    link.write_text(text)
    done = shell.run("pull", "--verbose", model.reference)
    assert done.returncode == 0, done.stderr
    assert "chunk table" not in done.stderr


def test_a_rule_may_ask_for_a_chunk_table(shell: Shell, keys: Keys, registry: Registry, tmp_path: Path) -> None:
    """One attached later counts only when it is signed itself."""

    asking = policy(tmp_path, {"references": ["**"], "keys": [str(keys.public)], "chunk_table": True})
    model = SignedModel(tmp_path, registry, "org/tableless", table=False)
    assert shell.run("sign", model.reference, "--key", str(keys.secret)).returncode == 0
    assert "has no chunk table that an accepted signature covers" in refused(model, asking)
    table = attachment(model.descriptor, CHUNK_TABLE_TYPE, model.raw_table)
    model.attach(table)
    assert "has no chunk table that an accepted signature covers" in refused(model, asking)
    about = Descriptor(media_type=table.manifest.media_type, digest=table.digest, size=len(table.raw))
    model.attach(attachment(about, SIGSTORE_BUNDLE, make_bundle(sign_statement(table.digest), keys.key)))
    assert (shell.pull(model.reference, "--policy", str(asking)) / WEIGHTS).stat().st_size == SIZE


def test_a_referrer_that_is_gone_does_not_hide_a_signed_chunk_table(
    keys: Keys, registry: Registry, rules: Path, tmp_path: Path
) -> None:
    model = SignedModel(tmp_path, registry, "org/listed", seed=77, table=False)
    model.attach_bundle(make_bundle(sign_statement(model.digest), keys.key))
    gone = model.attach(attachment(model.descriptor, CHUNK_TABLE_TYPE, b"{}")).partition(":")[2]
    table = attachment(model.descriptor, CHUNK_TABLE_TYPE, model.raw_table)
    model.attach(table)
    about = Descriptor(media_type=table.manifest.media_type, digest=table.digest, size=len(table.raw))
    model.attach(attachment(about, SIGSTORE_BUNDLE, make_bundle(sign_statement(table.digest), keys.key)))

    manifests = registry.storage / "docker/registry/v2/repositories/org/listed/_manifests/revisions/sha256"
    (manifests / gone / "link").unlink()

    async def resolve() -> Artifact:
        origins = Origins(OriginSettings(policy=policy_at(rules)))
        try:
            return await origins.resolve(model.reference)
        finally:
            await origins.close()

    assert asyncio.run(resolve()).chunks


def test_what_no_rule_matches_is_refused(model: SignedModel, keys: Keys, tmp_path: Path) -> None:
    elsewhere = policy(tmp_path, {"references": ["registry.example/**"], "keys": [str(keys.public)]})
    assert "has no rule for it" in refused(model, elsewhere)


def test_what_is_here_already_is_held_against_a_new_policy(
    shell: Shell, model: SignedModel, keys: Keys, rules: Path, tmp_path: Path
) -> None:
    shell.pull(model.reference)
    for offline in ((), ("--offline",)):
        shell.fails(UNTRUSTED, "pull", *offline, "--policy", str(rules), model.reference)
    pinned = f"{model.ref.name}@{model.digest}"
    shell.fails(UNTRUSTED, "pull", "--policy", str(rules), pinned)
    assert shell.run("sign", model.reference, "--key", str(keys.secret)).returncode == 0
    path = shell.pull(model.reference, "--policy", str(rules))
    assert shell.pull(model.reference, "--offline", "--policy", str(rules)) == path
    model.registry.stop()  # what passed this policy may be used without asking again, and not under another
    assert shell.pull(model.reference, "--policy", str(rules)) == path
    stranger = Keys.make(tmp_path, "stranger")
    other = policy(tmp_path, {"references": ["**"], "keys": [str(stranger.public)]})
    assert shell.run("pull", "--policy", str(other), model.reference).returncode != 0
    model.registry.start()
    shell.fails(UNTRUSTED, "pull", "--policy", str(other), model.reference)


def test_a_layout_is_held_against_the_policy(shell: Shell, model: SignedModel, keys: Keys, tmp_path: Path) -> None:
    reference = f"oci-layout:{model.layout.path}:v1"
    rules = policy(tmp_path, {"references": ["oci-layout:/**"], "keys": [str(keys.public)]})
    assert "it has no signature" in shell.fails(UNTRUSTED, "pull", "--policy", str(rules), reference)
    assert shell.run("sign", reference, "--key", str(keys.secret)).returncode == 0
    assert (shell.pull(reference, "--policy", str(rules)) / WEIGHTS).stat().st_size == SIZE


def test_files_have_no_signatures(shell: Shell, tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "model.safetensors").write_bytes(b"weights")
    reference = f"file://{tmp_path}/files"
    strict = policy(tmp_path, {"references": ["**"], "keys": [str(keys.public)]})
    assert "there are no signatures" in shell.fails(UNTRUSTED, "pull", "--policy", str(strict), reference)
    open_to = policy(tmp_path, {"references": ["file://**"], "allow_unsigned": True})
    assert shell.pull(reference, "--policy", str(open_to)).exists()


def test_a_policy_that_cannot_be_followed_stops_everything(shell: Shell, model: SignedModel, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("version = 1\n[[rules]]\nreferences = ['**']\nkeys = ['gone.pub']\n")
    said = pull_refused(shell, model, path, code=2)
    assert f"{tmp_path}/gone.pub of rule 1 in {path} cannot be read: No such file or directory" in said


def _legacy_only(model: SignedModel, keys: Keys, about: str = "") -> str:
    """A signature under cosign's tag alone; returns the digest of its payload."""

    payload = simple_signing(about or model.digest)
    layer = Descriptor(
        media_type=SIMPLE_SIGNING,
        digest=sha256_digest(payload),
        size=len(payload),
        annotations={COSIGN_SIGNATURE: base64.b64encode(keys.key.sign(payload)).decode()},
    )
    config = msgspec.structs.replace(layer, annotations={}, media_type="application/vnd.oci.image.config.v1+json")
    manifest = Manifest(schema_version=2, media_type=model.manifest.media_type, config=config, layers=(layer,))

    async def put() -> None:
        tag = model.ref.with_tag(legacy_tag(model.digest))
        async with RegistryClient() as client:
            await client.upload_blob(tag, payload, layer.digest, layer.size)
            await client.put_manifest(tag, encode_manifest(manifest), manifest.media_type)

    asyncio.run(put())
    return layer.digest


def test_envelopes_sign_their_type_with_their_payload(keys: Keys) -> None:
    signed = Envelope(IN_TOTO, b"a", ()).signed
    assert signed == b"DSSEv1 28 application/vnd.in-toto+json 1 a"
    assert keys.key.public.verifies(keys.key.sign(signed), signed)
    assert not keys.key.public.verifies(keys.key.sign(signed), Envelope("text/plain", b"a", ()).signed)
