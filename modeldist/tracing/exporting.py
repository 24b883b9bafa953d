"""Sends spans to a collector, with OpenTelemetry's SDK, by OTLP over HTTP. Where and how is in its own `OTEL_*`.

The SDK is imported when a collector is named, and not before: that takes as long as all else of a small pull.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from modeldist import __version__
from modeldist.tracing.asked import wanted
from modeldist.tracing.context import VARIABLE, valid, within
from modeldist.tracing.spans import Fact, Kind, Span, record_with

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

PATIENCE = 5.0  # seconds that a collector gets for what is left when the process ends
PROTOCOL = "http/protobuf"


@contextmanager
def exporting(
    service: str, say: Callable[[str], object], *, instance: str = "", patience: float = PATIENCE, quiet: bool = False
) -> Iterator[None]:
    """Spans of this process are sent while this is open; at its end, for `patience` seconds, what is left. Does nothing
    where no collector is named. `service` is its name unless OTEL_SERVICE_NAME has another; `instance`: which of them.
    `say` gets a sentence where traces are wanted and cannot be; `quiet`: what the SDK logs is dropped."""
    if quiet and wanted():
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider = _provider(service, instance, say) if wanted() else None
    if provider is None:
        with within(os.environ.get(VARIABLE, "")):
            yield
        return
    record_with(_Recorder(provider.get_tracer("modeldist", __version__)))
    try:
        with within(os.environ.get(VARIABLE, "")):
            yield
    finally:
        record_with(None)
        # A collector that is away must not keep the process.
        ending = threading.Thread(target=provider.shutdown, name="last traces", daemon=True)
        ending.start()
        ending.join(patience)


def _provider(service: str, instance: str, say: Callable[[str], object]) -> TracerProvider | None:
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if (given := os.environ.get(name, "").strip()) and given != PROTOCOL:
            say(f"No traces: {name} is {given}, and they are sent by {PROTOCOL}.")
            return None
        if given:
            break
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        say(f"No traces: {error.name or error} is not installed; pip install 'modeldist[otel]'.")
        return None
    about = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or service, "service.version": __version__}
    if instance:
        about["service.instance.id"] = instance
    logging.getLogger("opentelemetry.util.re").addFilter(_without_headers)
    try:
        provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except Exception as error:  # of OTEL_* that make no sense; nobody loses a pull for that
        say(f"No traces: OpenTelemetry does not take its settings: {error}.")
        return None
    return provider


def _without_headers(record: logging.LogRecord) -> bool:
    """The SDK shows what it cannot read of the headers, which is where the collector's token is."""
    record.msg, record.args = "what is not written as NAME=VALUE in OTEL_EXPORTER_OTLP_HEADERS is left out", ()
    return True


class _Recorder:
    def __init__(self, tracer: Tracer) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

        self._tracer = tracer
        self._kinds = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "server": SpanKind.SERVER}

        def context(parent: str) -> Context:
            if not (parent := valid(parent)):
                return Context()
            _, trace, span, flags = parent.split("-")
            remote = SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
            return set_span_in_context(NonRecordingSpan(remote), Context())

        self._context = context

    def begin(self, name: str, parent: str, kind: Kind, at: int | None, facts: dict[str, Fact]) -> Span:
        return _Recorded(
            self._tracer.start_span(
                name, self._context(parent), kind=self._kinds[kind], start_time=at, attributes=_named(facts)
            )
        )


class _Recorded:
    """A `Span` of the SDK's."""

    __slots__ = ("_span", "context")

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        of = span.get_span_context()
        self.context = f"00-{of.trace_id:032x}-{of.span_id:016x}-{of.trace_flags:02x}"

    def event(self, name: str, **facts: Fact) -> None:
        self._span.add_event(name, _named(facts))

    def say(self, **facts: Fact) -> None:
        self._span.set_attributes(_named(facts))

    def failed(self, cause: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, cause))
        self._span.set_attribute("error.type", cause)

    def end(self, at: int | None = None) -> None:
        if self._span.is_recording():
            self._span.end(at)


def _named(facts: dict[str, Fact]) -> dict[str, Any]:
    """Our own names: `modeldist.shard`."""
    return {f"modeldist.{name}": value for name, value in facts.items()}
