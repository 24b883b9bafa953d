"""OTEL_* as people get them wrong: what is traced goes on, and no secret is in a log."""

from __future__ import annotations

import logging
import threading

import pytest

from modeldist.tracing import active, span
from modeldist.tracing.exporting import exporting

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY)


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_BSP_MAX_QUEUE_SIZE", "-1"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")]
)
def test_what_makes_no_sense_is_told_and_stops_nothing(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    told: list[str] = []
    with exporting("modeldist", told.append), span("x") as traced:
        assert not active()
        traced.say(bytes=1)
    assert len(told) == 1 and told[0].startswith("No traces: OpenTelemetry does not take its settings: "), told


def test_a_header_that_is_none_is_not_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Bearer the-secret")
    with caplog.at_level(logging.WARNING), exporting("modeldist", lambda _: None, patience=0.0):
        assert active()
    assert "OTEL_EXPORTER_OTLP_HEADERS" in caplog.text
    assert "the-secret" not in caplog.text
    for thread in threading.enumerate():
        if thread.name == "last traces":
            thread.join(30)
