"""Policies of signatures, in TOML and JSON: rules that say what the file says, or a refusal that names it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from modelpack.trust.keys import PrivateKey
from modelpack.trust.policy import load_policy
from tests.fuzz.target import Target, json_words
from tests.refusals import value_of

_ROOM = tempfile.TemporaryDirectory(prefix="policy-")
PEM = PrivateKey(ec.derive_private_key(7, ec.SECP256R1())).public.pem().decode()


@lru_cache(maxsize=1)
def _directory() -> Path:
    directory = Path(_ROOM.name)
    (directory / "release.pub").write_text(PEM)
    (directory / "root.json").write_text("{}")
    return directory


def seeds() -> Iterator[bytes]:
    yield (
        b'version = 1\n[[rules]]\nreferences = ["registry.example/org/**", "*/x"]\nkeys = ["release.pub"]\n'
        b'accept = ["bundle", "legacy", "openssf"]\nchunk_table = true\n[[rules.identities]]\nissuer = "https://i"\n'
        b'subject_regex = "a{2,3}"\ntrust_root = "root.json"\n[[rules]]\nreferences = ["localhost:5000/**"]\n'
        b"allow_unsigned = true\n"
    )
    yield json.dumps({"version": 1, "rules": [{"references": ["**"], "keys": [PEM]}]}).encode()
    for key in ("~nobody-like-that/x", "a\0b", "x" * 5000, "/", PEM.replace("PUBLIC", "PRIVATE")):
        yield json.dumps({"version": 1, "rules": [{"references": ["**"], "keys": [key]}]}).encode()
    for pattern in ("(", "a{99999999999999999999}", "(?P<a>x)" * 2):
        identity = {"issuer": "i", "subject_regex": pattern, "trust_root": "root.json"}
        yield json.dumps({"version": 1, "rules": [{"references": ["*"], "identities": [identity]}]}).encode()


def check(data: bytes) -> None:
    for suffix in (".toml", ".json"):
        path = _directory() / f"policy{suffix}"
        path.write_bytes(data)
        policy = value_of(partial(load_policy, path), naming=str(path))
        if policy is None:
            continue
        assert policy.rules and load_policy(path) == policy
        for rule in policy.rules:
            assert rule.references and bool(rule.keys or rule.identities) != rule.allow_unsigned
        for name in ("registry.example/org/m", "LOCALHOST:5000/x", "a"):
            found = policy.rule_for(name)
            assert found is None or found.concerns(name.lower())


WORDS = (
    *json_words("version rules references keys identities accept chunk_table allow_unsigned issuer subject trust_root"),
    *b'= [[rules]] \n[rules]\n " """ true 1 release.pub subject_regex ** * (?: {9} ) | \\u0000 ~ ../ [a]'.split(b" "),
)
TARGET = Target("policy", check, seeds, WORDS, longest=800)
