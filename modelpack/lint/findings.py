"""What lint finds, and collecting it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from modelpack.deviations import CONFIG_BLOB, Severity
from modelpack.lint.rules import BY_NAME, RULES, Rule
from modelpack.quoting import printable

_RANK: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
_MOST_PER_RULE = 100  # of one target; what repeats more says no more


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One breach of the rule with the id `rule`. `message` is a sentence that names the thing.

    `path` is a file of the model; `pointer` (RFC 6901) a member of the manifest, or of the model config where it starts
    with `config-blob#`; `layer` counts from 0.
    """

    rule: str
    severity: Severity
    message: str
    path: str = ""
    pointer: str = ""
    layer: int | None = None

    @property
    def about(self) -> Rule:
        return RULES[self.rule]

    @property
    def where(self) -> str:
        """For people."""
        pointer = self.pointer.replace(CONFIG_BLOB, "config ")
        return printable(" ".join(part for part in (self.path, pointer) if part))


@dataclass(frozen=True, slots=True)
class Report:
    """Everything found in one model. `digest` is the manifest's, empty for a directory; `dialect` as in
    `ModelArtifact`, or "directory". `left_out`: by rule, how many findings more there are than are listed."""

    target: str
    digest: str
    dialect: str
    findings: tuple[Finding, ...]
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> dict[Severity, int]:
        found = Counter(finding.severity for finding in self.findings)
        for rule, count in self.left_out.items():
            found[RULES[rule].severity] += count
        return {severity: found[severity] for severity in _RANK}

    @property
    def worst(self) -> Severity | None:
        return min((finding.severity for finding in self.findings), key=_RANK.__getitem__, default=None)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: each finding with its rule's name, section and remedy."""
        return {
            "target": self.target,
            "digest": self.digest,
            "dialect": self.dialect,
            "counts": self.counts,
            "findings": [
                {
                    **msgspec.to_builtins(finding),
                    "name": finding.about.name,
                    "section": finding.about.section,
                    "remedy": finding.about.remedy,
                }
                for finding in self.findings
            ],
            "left_out": self.left_out,
        }


class Findings:
    """Grows; the same finding counts once."""

    def __init__(self) -> None:
        self._found: dict[Finding, None] = {}
        self._by_rule: Counter[str] = Counter()

    def add(
        self,
        name: str,
        message: str,
        *,
        path: str = "",
        pointer: str = "",
        layer: int | None = None,
        severity: Severity | None = None,
    ) -> None:
        """`name` is the rule's; `severity` where this case weighs less than the rule says."""
        rule = BY_NAME[name]
        finding = Finding(rule.id, severity or rule.severity, printable(message), path, pointer, layer)
        if finding in self._found:
            return
        self._by_rule[rule.id] += 1
        if self._by_rule[rule.id] <= _MOST_PER_RULE:
            self._found[finding] = None

    def has_errors(self) -> bool:
        return any(finding.severity == "error" for finding in self._found)

    def report(self, target: str, digest: str, dialect: str) -> Report:
        """Worst first, then by rule, in the order found; what is known with its place is not said without it again."""
        placed = {(finding.rule, finding.message) for finding in self._found if finding.where}
        kept = (finding for finding in self._found if finding.where or (finding.rule, finding.message) not in placed)
        ordered = sorted(kept, key=lambda finding: (_RANK[finding.severity], finding.rule))
        left_out = {rule: count - _MOST_PER_RULE for rule, count in self._by_rule.items() if count > _MOST_PER_RULE}
        return Report(target, digest, dialect, tuple(ordered), left_out)
