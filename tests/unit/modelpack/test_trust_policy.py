"""Policies and keys: which rule counts, and every way a file cannot be followed."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from nacl.secret import SecretBox

from modelpack.errors import InvalidKey, InvalidPolicy, Untrusted
from modelpack.trust.judging import applying_rule
from modelpack.trust.keys import generate, load_private_key, load_public_key
from modelpack.trust.policy import load_policy

PEM = generate().public.pem().decode()


def write(tmp_path: Path, text: str, name: str = "policy.toml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def of_rules(tmp_path: Path, *rules: dict[str, object]) -> Path:
    return write(tmp_path, json.dumps({"version": 1, "rules": list(rules)}), "policy.json")


def test_the_first_rule_that_matches_counts(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "release.pub").write_text(PEM)
    policy = load_policy(
        write(
            tmp_path,
            f"""
            version = 1
            [[rules]]
            references = ["registry.example/org/*"]
            keys = ["keys/release.pub", '''{PEM}''']
            accept = ["bundle", "legacy"]
            [[rules]]
            references = ["registry.example/**", "hf://org/*"]
            allow_unsigned = true
            """,
        )
    )
    assert applying_rule(policy, "registry.example/org/model").number == 1
    assert applying_rule(policy, "Registry.Example/org/model").number == 1  # a host by any case is the same
    assert applying_rule(policy, "registry.example/org/deeper/model").number == 2
    assert applying_rule(policy, "hf://org/model").allow_unsigned
    first = policy.rules[0]
    assert first.keys[0].name == str(tmp_path / "keys" / "release.pub")
    assert first.keys[1].name.startswith("sha256:")
    assert first.accept == ("bundle", "legacy")
    with pytest.raises(Untrusted, match=r"docker\.io/library/model is refused: the policy .* has no rule for it"):
        applying_rule(policy, "docker.io/library/model")


def test_the_fingerprint_changes_with_what_the_policy_names(tmp_path: Path) -> None:
    key = tmp_path / "a.pub"
    key.write_text(PEM)
    path = of_rules(tmp_path, {"references": ["**"], "keys": ["a.pub"]})
    before = load_policy(path).fingerprint
    assert load_policy(path).fingerprint == before
    key.write_bytes(generate().public.pem())
    assert load_policy(path).fingerprint != before


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"references": ["**"]}, "names no key and no identity"),
        ({"keys": [PEM]}, "rule 1 has no references"),
        ({"references": "**", "keys": [PEM]}, "the references of rule 1 are no list"),
        ({"references": ["**"], "keys": [PEM], "accpet": []}, "rule 1 has 'accpet', which means nothing"),
        ({"references": ["**"], "keys": [PEM], "accept": ["gpg"]}, "accepts 'gpg', which is none of bundle, legacy"),
        ({"references": ["**"], "keys": [PEM], "allow_unsigned": True}, "make two rules of it"),
        ({"references": ["**"], "keys": [PEM], "chunk_table": 1}, "chunk_table of rule 1 is neither true nor false"),
        ({"references": ["**"], "keys": ["none.pub"]}, "none.pub of rule 1 in .* cannot be read"),
        ({"references": ["**"], "keys": ["-----BEGIN PUBLIC KEY-----"]}, "is no public key"),
        ({"references": ["**"], "keys": [7]}, "the keys of rule 1 are no list of texts"),
        ({"references": ["**"], "keys": ["~nobody-here/a.pub"]}, "nobody has the home directory of '~nobody-here/"),
        ({"references": ["**"], "keys": ["a\0b"]}, r"a\\x00b of rule 1 in .* cannot be read: embedded null"),
        (
            {
                "references": ["**"],
                "identities": [{"issuer": "i", "subject_regex": "a{9999999999}", "trust_root": "r"}],
            },
            "the subject_regex of rule 1 is no pattern: the repetition number is too large",
        ),
        (
            {"references": ["**"], "identities": [{"issuer": "x", "trust_root": "y"}]},
            "one of subject and subject_regex",
        ),
        (
            {"references": ["**"], "identities": [{"issuer": "x", "trust_root": "y", "subject_regex": "("}]},
            "is no pattern",
        ),
        (
            {"references": ["**"], "identities": [{"issuer": "x", "trust_root": "y", "subject": "z"}]},
            "The trust root .* cannot be read",
        ),
        ({"references": ["**"], "identities": {}}, "identities of rule 1 are no list"),
        (7, "rule 1 is no table"),
    ],
)
def test_a_rule_that_cannot_be_followed(tmp_path: Path, rule: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidPolicy, match=says):
        load_policy(of_rules(tmp_path, rule))


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("version = 2\nrules = []", "policy.toml", "its version is '2', not 1"),
        ("version = true", "policy.toml", "its version is 'True', not 1"),
        ("version = 1", "policy.toml", "it has no rules"),
        ("version = 1\nrules = []", "policy.toml", "it has no rules"),
        ("version = 1\nkeys = []", "policy.toml", "it has 'keys', which means nothing"),
        ("version =", "policy.toml", "it is no TOML"),
        ('{"version": 1, "version": 1}', "policy.json", "appears twice"),
        ("[]", "policy.json", "not a JSON object"),
    ],
)
def test_a_file_that_is_no_policy(tmp_path: Path, text: str, name: str, says: str) -> None:
    with pytest.raises(InvalidPolicy, match=says):
        load_policy(write(tmp_path, text, name))
    with pytest.raises(InvalidPolicy, match=r"none\.toml cannot be read"):
        load_policy(tmp_path / "none.toml")


def test_keys_of_every_kind_that_is_used_verify() -> None:
    for made in (
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ):
        pem = made.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        key = load_public_key(pem, "a.pub")
        assert key.name == "a.pub"
        assert not key.verifies(bytes(64), b"data")
    assert load_public_key(pem).name == key.fingerprint


def _pem(made: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("pem", "says"),
    [
        (b"", "is no public key"),
        (generate().pem(), "is a private key"),
        (_pem(ec.generate_private_key(ec.SECP256K1())), "of a kind that is not used"),
        (_pem(rsa.generate_private_key(65537, 1024)), "of a kind that is not used"),
        (b"x" * 100_000, "which no key has"),
    ],
)
def test_what_is_no_key_to_verify_with(pem: bytes, says: str) -> None:
    with pytest.raises(InvalidKey, match=f"a.pub .*{says}|a.pub {says}"):
        load_public_key(pem, "a.pub")


def test_private_keys_with_and_without_a_password() -> None:
    key = generate()
    assert load_private_key(key.pem()).public == key.public
    assert load_private_key(key.pem(b"secret"), b"secret").public == key.public
    for pem, password, says in (
        (key.pem(b"secret"), b"", "locked by a password"),
        (key.pem(), b"secret", "not locked by a password"),
        (key.pem(b"secret"), b"other", "its password is another"),
        (key.public.pem(), b"", "is no private key"),
    ):
        with pytest.raises(InvalidKey, match=says):
            load_private_key(pem, password, "a.key")


def cosign_key(der: bytes, password: bytes, n: int = 1 << 15) -> bytes:
    """As `cosign generate-key-pair` writes it."""
    salt = bytes(range(32))
    derived = hashlib.scrypt(password, salt=salt, n=n, r=8, p=1, maxmem=1 << 28, dklen=32)
    box = SecretBox(derived).encrypt(der, bytes(24))
    document = {
        "kdf": {"name": "scrypt", "params": {"N": n, "r": 8, "p": 1}, "salt": base64.b64encode(salt).decode()},
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(bytes(24)).decode()},
        "ciphertext": base64.b64encode(box.ciphertext).decode(),
    }
    body = base64.b64encode(json.dumps(document).encode())
    kind = b"ENCRYPTED SIGSTORE PRIVATE KEY"
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (kind, body, kind)


def test_cosigns_own_keys() -> None:
    key = generate()
    der = key.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert load_private_key(cosign_key(der, b"secret"), b"secret").public == key.public
    assert load_private_key(cosign_key(der, b""), b"").public == key.public
    with pytest.raises(InvalidKey, match="does not open with this password"):
        load_private_key(cosign_key(der, b"secret"), b"other", "cosign.key")
    broken = cosign_key(der, b"secret").replace(b"\n-----END", b"AAAA\n-----END", 1)
    with pytest.raises(InvalidKey, match=r"malformed cosign key|does not open"):
        load_private_key(broken, b"secret", "cosign.key")
