"""Evidence held against a rule: does an accepted signature vouch for this manifest?"""

from __future__ import annotations

from dataclasses import dataclass

from modelpack.artifact import ModelFile, read_artifact
from modelpack.errors import InvalidSignature, ModelPackError, Untrusted
from modelpack.trust.bundles import Bundle, parse_bundle
from modelpack.trust.evidence import Evidence, Form, Found
from modelpack.trust.keyless import verify_keyless
from modelpack.trust.model_signing import PREDICATE, signed_files
from modelpack.trust.policy import Policy, Rule
from modelpack.trust.statements import check_sign_statement, check_simple_signing, read_statement

_TOLD = 4  # problems in a message


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a model is accepted. `by`: the key or identity that vouches; empty where the rule asks for none."""

    rule: Rule
    form: Form | None = None
    where: str = ""
    by: str = ""

    @property
    def covers_manifest(self) -> bool:
        """Whether the signature is of the manifest, with all that it names. One of model-signing is of the files: who
        can write to the registry may put another manifest before them, with a chunk table of their own making."""
        return self.form in ("bundle", "legacy")


def applying_rule(policy: Policy, name: str) -> Rule:
    """The rule for a model called `name`. Raises Untrusted when there is none."""
    rule = policy.rule_for(name)
    if rule is None:
        raise Untrusted(
            f"{name} is refused: the policy {policy.path} has no rule for it.",
            remedy="Add a rule whose references match it, if it is to be used.",
        )
    return rule


def judge(policy: Policy, rule: Rule, name: str, evidence: Evidence) -> Verdict:
    """Raises Untrusted saying what was found and why it does not count."""
    if rule.allow_unsigned:
        return Verdict(rule)
    problems: list[str] = []
    for found in evidence.found:
        try:
            form, by = check_signature(rule, evidence, found)
        except InvalidSignature as error:
            problems.append(f"{found.where}: {error.message}")
        else:
            return Verdict(rule, form, found.where, by)
    raise _refused(policy, rule, name, evidence, problems)


def check_signature(rule: Rule, evidence: Evidence, found: Found) -> tuple[Form, str]:
    """(what it is, who made it). Raises InvalidSignature saying why it does not count for this model by this rule."""
    if found.problem:
        raise InvalidSignature(found.problem)
    if found.form == "legacy":
        return "legacy", _legacy(rule, evidence, found)
    bundle = parse_bundle(found.data)
    by, payload = signed_payload(rule, bundle)
    form: Form = "openssf" if read_statement(payload)["predicateType"] == PREDICATE else "bundle"
    if form not in rule.accept:
        raise InvalidSignature(f"It is of the form {form!r}, which rule {rule.number} does not accept.")
    if form == "openssf":
        signed_files(payload).check_layers(_files(evidence))
    else:
        check_sign_statement(payload, evidence.digests)
    return form, by


def signed_payload(rule: Rule, bundle: Bundle) -> tuple[str, bytes]:
    """(who signed it, what), whatever it says. Raises InvalidSignature when nobody who is accepted did."""
    if not bundle.certified:
        if (key := bundle.signed_by(rule.keys)) is None:
            raise InvalidSignature("It is signed by none of the accepted keys, or was changed since.")
        return key.name, bundle.envelope.payload
    if not rule.identities:
        raise InvalidSignature(f"It is signed with a certificate, and rule {rule.number} accepts no identity.")
    problems = []
    for identity in rule.identities:
        try:
            return identity.name, verify_keyless(bundle, identity)
        except InvalidSignature as error:
            problems.append(error.message)
    raise InvalidSignature(" ".join(problems))


def _legacy(rule: Rule, evidence: Evidence, found: Found) -> str:
    if "legacy" not in rule.accept:
        raise InvalidSignature(f"It is of the form 'legacy', which rule {rule.number} does not accept.")
    signers = (key for key in rule.keys if any(key.verifies(signature, found.data) for signature in found.signatures))
    key = next(signers, None)
    if key is None:
        raise InvalidSignature("It is signed by none of the accepted keys, or was changed since.")
    check_simple_signing(found.data, evidence.digests)
    return key.name


def _files(evidence: Evidence) -> tuple[ModelFile, ...]:
    try:
        return read_artifact(evidence.manifest, evidence.config, mode="lenient").files
    except ModelPackError as error:
        raise InvalidSignature(error.message) from None


def _refused(policy: Policy, rule: Rule, name: str, evidence: Evidence, problems: list[str]) -> Untrusted:
    count = len(evidence.found)
    what = f"{name}@{evidence.digests[0]} is refused by rule {rule.number} of the policy {policy.path}"
    remedy = f"Sign it (`modeldist sign {name}@{evidence.digests[0]} --key KEY`), or change the policy."
    if not count:
        return Untrusted(f"{what}: it has no signature.", remedy=remedy)
    more = f" ({count - _TOLD} more are not shown)" if count > _TOLD else ""
    counted = "1 signature was found, and it does not count" if count == 1 else f"of {count} signatures none counts"
    return Untrusted(f"{what}: {counted}{more}. {' '.join(problems[:_TOLD])}", remedy=remedy)
