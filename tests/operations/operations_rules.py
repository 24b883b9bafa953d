"""Rules and dashboard as they are written: promtool takes the rules, each alert fires when it should and not otherwise,
and everything that they name is a metric of ours."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from modeldist.agent.metrics import AGENT_METRICS
from modeldist.control.metrics.names import SERVER_METRICS
from tests.operations import observability as given
from tests.servers.prometheus import program

SERIES = Path(__file__).with_name("alerts.yaml")
KNOWN = AGENT_METRICS | SERVER_METRICS


def promtool(*arguments: str) -> str:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_takes_the_rules() -> None:
    assert f"SUCCESS: {len(given.rules())} rules found" in promtool("check", "rules", "--lint=all", str(given.RULES))


def test_every_alert_fires_and_does_not() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(SERIES))


def test_every_alert_is_tried_both_ways() -> None:
    """So that the test before leaves none out."""
    fires: Counter[str] = Counter()
    stays: Counter[str] = Counter()
    for group in yaml.safe_load(SERIES.read_text())["tests"]:
        for case in group.get("alert_rule_test", ()):
            (fires if case.get("exp_alerts") else stays)[case["alertname"]] += 1
    assert set(fires) == set(stays) == set(given.alerts())


@pytest.mark.parametrize(("name", "rule"), given.alerts().items())
def test_an_alert_says_what_is_wrong_and_is_explained(name: str, rule: dict[str, object]) -> None:
    annotations, labels = rule["annotations"], rule["labels"]
    assert isinstance(annotations, dict)
    assert isinstance(labels, dict)
    assert set(annotations) == {"summary", "description"}
    assert labels.get("severity") in ("critical", "warning")
    assert f"| `{name}` |" in given.PAGE.read_text()


@pytest.mark.parametrize("where", [given.RULES, given.DASHBOARD], ids=lambda path: path.name)
def test_nothing_is_named_that_does_not_exist(where: Path) -> None:
    named = {given.base(name) for name in given.named_in(where.read_text())} - given.recorded()
    assert named
    assert named <= set(KNOWN), named - set(KNOWN)


def test_the_dashboard_shows_every_metric() -> None:
    """What is not worth a line there is not worth one in /metrics."""
    named = {given.base(name) for name in given.named_in(given.DASHBOARD.read_text())}
    assert named == set(KNOWN), named ^ set(KNOWN)


def test_the_dashboard_is_one_that_grafana_can_lay_out() -> None:
    panels = list(given.panels())
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(letters)) == len(letters)
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert letters
