"""Reports as SARIF 2.1.0 (OASIS), which code scanning services read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from modelpack.deviations import Severity
from modelpack.lint.findings import Finding, Report
from modelpack.lint.rules import RULES, Rule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "note": "note"}


def encode(reports: Sequence[Report], *, tool: str, version: str) -> bytes:
    """One run with all reports. `tool` and `version` are those of the program that looked."""
    return msgspec.json.format(msgspec.json.encode(document(reports, tool=tool, version=version)), indent=2)


def document(reports: Sequence[Report], *, tool: str, version: str) -> dict[str, Any]:
    """The same as objects. All rules are listed, broken or not, so that their numbers stay."""
    numbers = {rule: number for number, rule in enumerate(RULES)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": tool, "version": version, "rules": list(map(_rule, RULES.values()))}},
                "columnKind": "unicodeCodePoints",
                "results": [
                    _result(report, finding, numbers[finding.rule]) for report in reports for finding in report.findings
                ],
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(part.capitalize() for part in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"section": rule.section, "tags": ["modelpack"]},
    }


def _result(report: Report, finding: Finding, number: int) -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": _artifact(report, finding)}}
    logical = []
    if finding.pointer:
        logical.append({"fullyQualifiedName": finding.pointer, "kind": "member"})
    if finding.layer is not None:
        logical.append({"fullyQualifiedName": f"/layers/{finding.layer}", "kind": "element"})
    if logical:
        location["logicalLocations"] = logical
    identity = "\0".join((report.target, finding.rule, finding.path, finding.pointer, finding.message))
    return {
        "ruleId": finding.rule,
        "ruleIndex": number,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message} {finding.about.remedy}"},
        "locations": [location],
        "partialFingerprints": {"modelpackLint/v1": hashlib.sha256(identity.encode()).hexdigest()},
        "properties": {"target": report.target, **({"digest": report.digest} if report.digest else {})},
    }


def _artifact(report: Report, finding: Finding) -> dict[str, Any]:
    """A file of a directory by its path; for a manifest elsewhere its reference, with the file behind a number sign."""
    if report.dialect == "directory":
        path = Path(report.target, finding.path) if finding.path else Path(report.target)
        return {"uri": quote(path.as_posix())}
    fragment = f"#{quote(finding.path)}" if finding.path else ""
    return {"uri": quote(report.target, safe="/@") + fragment}
