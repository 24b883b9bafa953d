"""The policy: which signatures count for which models. One TOML or JSON file.

    version = 1

    [[rules]]
    references = ["registry.example/org/**"]
    keys = ["release.pub"]                       # paths beside this file, or PEM
    accept = ["bundle", "legacy", "openssf"]     # only "bundle" when left out
    chunk_table = true                           # ask for a chunk table that the signature covers

    [[rules.identities]]
    issuer = "https://token.actions.githubusercontent.com"
    subject_regex = "https://github.com/org/.*"
    trust_root = "trusted_root.json"

    [[rules]]
    references = ["localhost:5000/**"]
    allow_unsigned = true

The first rule whose pattern a model's name matches is the one that counts; a model that none matches is refused.
In patterns `*` stands for a part of a path and `**` for any number of parts.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from modelpack.document import read_object
from modelpack.errors import InvalidKey, InvalidPolicy
from modelpack.trust.evidence import Form
from modelpack.trust.keyless import Identity
from modelpack.trust.keys import PublicKey, load_public_key

MAX_POLICY = 1024 * 1024  # bytes
_FORMS = cast(tuple[Form, ...], get_args(Form))
_RULE = {"references", "keys", "identities", "accept", "chunk_table", "allow_unsigned"}
_IDENTITY = {"issuer", "subject", "subject_regex", "trust_root"}


@dataclass(frozen=True, slots=True)
class Rule:
    """`number` counts from 1. Signatures count that one of `keys` or `identities` made, in a form of `accept`."""

    number: int
    references: tuple[str, ...]
    keys: tuple[PublicKey, ...] = ()
    identities: tuple[Identity, ...] = ()
    accept: tuple[Form, ...] = ("bundle",)
    chunk_table: bool = False
    allow_unsigned: bool = False

    def concerns(self, name: str) -> bool:
        """Whether a model of this name (a reference without its version) is meant. Case does not matter."""
        return any(_pattern(glob).fullmatch(name.casefold()) for glob in self.references)


@dataclass(frozen=True, slots=True)
class Policy:
    """`fingerprint` changes with everything that the policy says or refers to: keys and trust roots, too."""

    path: Path
    rules: tuple[Rule, ...]
    fingerprint: str = field(repr=False)

    def rule_for(self, name: str) -> Rule | None:
        """The rule that counts for a model; None: it is refused."""
        return next((rule for rule in self.rules if rule.concerns(name)), None)


def load_policy(path: Path) -> Policy:
    """Read a policy with all that it refers to. Raises InvalidPolicy naming the file, the rule and what is wrong."""
    path = path.absolute()
    raw = _read(path, f"The policy {path}")
    reading = _Reading(path)
    return reading.policy(_parsed(path, raw), raw)


class _Reading:
    """Turns one document into a Policy, and notes everything that makes it up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sum = hashlib.sha256()

    def policy(self, document: Mapping[str, Any], raw: bytes) -> Policy:
        self._note(raw)
        if unknown := document.keys() - {"version", "rules"}:
            raise self._wrong(f"it has {sorted(unknown)[0]!r}, which means nothing")
        if type(document.get("version")) is not int or document["version"] != 1:
            raise self._wrong(f"its version is {str(document.get('version'))[:40]!r}, not 1")
        rules = document.get("rules")
        if not isinstance(rules, list) or not rules:
            raise self._wrong("it has no rules")
        made = tuple(self._rule(number, rule) for number, rule in enumerate(rules, 1))
        return Policy(self._path, made, self._sum.hexdigest())

    def _rule(self, number: int, rule: Any) -> Rule:
        where = f"rule {number}"
        members = self._members(rule, _RULE, where)
        references = self._texts(members, "references", where)
        if not references:
            raise self._wrong(f"{where} has no references")
        accept = self._texts(members, "accept", where)
        if unknown := [form for form in accept if form not in _FORMS]:
            raise self._wrong(f"{where} accepts {unknown[0]!r}, which is none of {', '.join(_FORMS)}")
        keys = tuple(self._key(text, where) for text in self._texts(members, "keys", where))
        identities = members.get("identities", [])
        if not isinstance(identities, list):
            raise self._wrong(f"the identities of {where} are no list")
        made = Rule(
            number,
            tuple(reference.casefold() for reference in references),
            keys,
            tuple(self._identity(identity, where) for identity in identities),
            cast(tuple[Form, ...], tuple(accept)) or ("bundle",),
            self._flag(members, "chunk_table", where),
            self._flag(members, "allow_unsigned", where),
        )
        if made.allow_unsigned and (made.keys or made.identities or accept):
            raise self._wrong(f"{where} allows unsigned models and names signatures; make two rules of it")
        if not made.allow_unsigned and not (made.keys or made.identities):
            raise self._wrong(f"{where} names no key and no identity, so nothing could ever satisfy it")
        return made

    def _key(self, text: str, where: str) -> PublicKey:
        try:
            if "-----BEGIN" in text:
                key = load_public_key(text.encode())
            else:
                path = self._beside(text)
                key = load_public_key(_read(path, f"The key {path} of {where} in {self._path}"), str(path))
        except InvalidKey as error:
            raise self._wrong(f"a key of {where} cannot be used: {error.message} {error.remedy}".rstrip(". ")) from None
        self._note(key.der)
        return key

    def _identity(self, identity: Any, where: str) -> Identity:
        members = self._members(identity, _IDENTITY, f"an identity of {where}")
        texts = {name: members.get(name, "") for name in _IDENTITY}
        if not all(isinstance(text, str) for text in texts.values()):
            raise self._wrong(f"an identity of {where} has a member that is no text")
        if not texts["issuer"] or not texts["trust_root"] or bool(texts["subject"]) == bool(texts["subject_regex"]):
            raise self._wrong(
                f"an identity of {where} needs an issuer, a trust_root, and one of subject and subject_regex"
            )
        try:
            re.compile(texts["subject_regex"])
        except (re.error, OverflowError, RecursionError) as error:
            raise self._wrong(f"the subject_regex of {where} is no pattern: {error}") from None
        root = self._beside(texts["trust_root"])
        self._note(_read(root, f"The trust root {root} of {where} in {self._path}", limit=16 * MAX_POLICY))
        return Identity(texts["issuer"], root, texts["subject"], texts["subject_regex"])

    def _beside(self, text: str) -> Path:
        try:
            return (self._path.parent / Path(text).expanduser()).absolute()
        except RuntimeError:
            raise self._wrong(f"nobody has the home directory of {text[:200]!r}") from None

    def _members(self, value: Any, known: set[str], where: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(f"{where} is no table")
        if unknown := value.keys() - known:
            raise self._wrong(f"{where} has {sorted(unknown)[0]!r}, which means nothing")
        return value

    def _texts(self, members: Mapping[str, Any], name: str, where: str) -> list[str]:
        value = members.get(name, [])
        if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
            raise self._wrong(f"the {name} of {where} are no list of texts")
        return value

    def _flag(self, members: Mapping[str, Any], name: str, where: str) -> bool:
        value = members.get(name, False)
        if not isinstance(value, bool):
            raise self._wrong(f"{name} of {where} is neither true nor false")
        return value

    def _note(self, part: bytes) -> None:
        self._sum.update(len(part).to_bytes(8, "big") + part)

    def _wrong(self, problem: str) -> InvalidPolicy:
        return _invalid(self._path, problem)


def _parsed(path: Path, raw: bytes) -> Mapping[str, Any]:
    if path.suffix == ".json":
        return read_object(raw, limit=MAX_POLICY, what=f"policy {path}", error=InvalidPolicy)
    try:
        return tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise _invalid(path, f"it is no TOML: {error}") from None


def _read(path: Path, what: str, limit: int = MAX_POLICY) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidPolicy(f"{what} cannot be read: {reason}.", remedy="Correct the path.") from None
    if len(raw) > limit:
        raise InvalidPolicy(f"{what} has more than {limit} bytes.", remedy="Correct the path.")
    return raw


def _invalid(path: Path, problem: str) -> InvalidPolicy:
    return InvalidPolicy(f"The policy {path} cannot be followed: {problem}.", remedy="Nothing is pulled until it can.")


def _pattern(glob: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", glob)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts), re.DOTALL)
