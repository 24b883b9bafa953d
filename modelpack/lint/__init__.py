"""Lint: what a model does that the specification, or those who will load it, do not expect; nothing is changed.

    report = lint_layout(OciLayout.open(path), "v1")
    report.worst                      # "error", "warning", "note" or None
    sarif.encode([report])            # for code scanning; also report.to_dict() and text.lines(report)

`rules` is the table of all rules, `findings` what comes out; `layouts`, `directories` and `registries` each look at one
kind of target. The rules read a few bytes where a file begins, never whole weights. May import the rest of `modelpack`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.lint.directories import lint_directory
    from modelpack.lint.findings import Finding, Report
    from modelpack.lint.layouts import lint_layout
    from modelpack.lint.registries import lint_reference
    from modelpack.lint.rules import RULES, Rule

_HOMES = {
    "Finding": "findings",
    "RULES": "rules",
    "Report": "findings",
    "Rule": "rules",
    "lint_directory": "directories",
    "lint_layout": "layouts",
    "lint_reference": "registries",
}

__all__ = ["RULES", "Finding", "Report", "Rule", "lint_directory", "lint_layout", "lint_reference"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'modelpack.lint' has no attribute {name!r}")
    return getattr(import_module(f"modelpack.lint.{_HOMES[name]}"), name)
