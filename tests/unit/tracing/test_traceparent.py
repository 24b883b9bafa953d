"""What is taken for a traceparent, and who is within it."""

from __future__ import annotations

import asyncio

import pytest

from modeldist.tracing import NO_SPAN, active, begin, current, headers, span, trace_id_of, within
from modeldist.tracing.asked import wanted
from modeldist.tracing.context import valid

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_the_one_of_the_recommendation() -> None:
    assert valid(GOOD) == GOOD
    assert trace_id_of(GOOD) == TRACE
    assert valid(f"cc-{TRACE}-{SPAN}-01-what-the-future-adds") == GOOD, "a later version begins as this one does"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-0١",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 1000}",
    ],
)
def test_what_is_none_begins_a_new_trace(text: str) -> None:
    assert valid(text) == ""
    with within(GOOD), within(text):
        assert current() == GOOD


async def test_tasks_are_within_what_started_them() -> None:
    async def asked() -> str:
        return current()

    with within(GOOD):
        task = asyncio.create_task(asked())
        assert headers() == {"traceparent": GOOD}
    assert (current(), headers()) == ("", {})
    assert await task == GOOD


def test_where_nothing_is_recorded_the_context_goes_through() -> None:
    assert not active()
    assert begin("pull", GOOD).context == GOOD
    assert begin("pull") is NO_SPAN
    with within(GOOD), span("anything", files=1) as told:
        told.event("happened", piece=1)
        told.say(bytes=1)
        told.failed("usage")
        assert current() == GOOD


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_traces_are_sent_where_a_collector_is_named(environment: dict[str, str], asked: bool) -> None:
    assert wanted(environment) is asked
