"""The dashboard, the rules and the page that explains them, as data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "chart" / "modeldist" / "observability"
RULES = FOLDER / "rules.yaml"
DASHBOARD = FOLDER / "dashboard.json"
PAGE = ROOT / "docs" / "metrics.md"

WINDOW = "5m"  # in the place of what Grafana would choose
_OF_A_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield panel
        yield from panel.get("panels", ())


def expressions() -> list[str]:
    """Of all panels and variables, with values for Grafana's variables."""
    found = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    return [_filled(expression) for expression in found]


def _filled(expression: str) -> str:
    for variable, value in {"$__rate_interval": WINDOW, "$__range": WINDOW, "$node": ".*"}.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, f"a variable that the test does not know: {expression}"
    return expression


def named_in(text: str) -> set[str]:
    """Metrics, recorded ones too, that a text names."""
    return set(re.findall(r"\bmodeldist(?:_(?:agent|server)_|:)[a-z0-9_:]+", text))


def base(name: str) -> str:
    """The metric that a series is of."""
    return _OF_A_HISTOGRAM.sub("", name)


def questions() -> list[str]:
    """The expressions that the page answers questions with."""
    section = PAGE.read_text().partition("## Questions")[2].partition("\n## ")[0]
    return re.findall(r"\| `(.+?)` \|", section)


def scrape_configs() -> dict[str, Any]:
    """What the page tells to write into prometheus.yml."""
    (block,) = re.findall(r"```yaml\n(.*?scrape_configs:.*?)```", PAGE.read_text(), re.DOTALL)
    config: dict[str, Any] = yaml.safe_load(block)
    return config
