"""A collector of traces: OTLP over HTTP, on loopback, decoded by OpenTelemetry's own messages."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.servers.quiet_http import QuietHandler, QuietServer


@dataclass(frozen=True)
class Seen:
    """One span. Ids are hexadecimal; times nanoseconds since the epoch; `events` are (name, attributes)."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    error: str = ""


class Collector(QuietServer):
    """Context manager. `spans` are those that came; `raw` is every body, for who looks for what must not be in any."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.raw: list[bytes] = []
        collector = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                body = self.body()
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, body)
                said = ExportTraceServiceResponse().SerializeToString()
                self.answer(200, said, {"Content-Type": "application/x-protobuf"})

        super().__init__(Handler)

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that sends its traces here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces", path
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_seen(service, span) for span in scope.spans]

    def named(self, name: str, trace: str | None = None) -> list[Seen]:
        return [span for span in list(self.spans) if span.name == name and trace in (None, span.trace)]


def _seen(service: str, span: Any) -> Seen:
    return Seen(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        [(event.name, _attributes(event.attributes)) for event in span.events],
        span.status.message,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    """Without our prefix."""
    return {
        pair.key.removeprefix("modeldist."): getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
        for pair in pairs
    }
