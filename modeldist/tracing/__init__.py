"""Traces: one pull from the command line to its pieces, as OpenTelemetry has it (docs/observability.md).

Which span something belongs to travels as the W3C's `traceparent`, whether it is recorded here or not. Spans are
recorded and sent where `OTEL_*` names a collector and the extra `otel` is installed (`exporting`, imported then and not
before); elsewhere they are one object that does nothing. Of ours it imports the log alone.
"""

from modeldist.tracing.context import current, headers, trace_id_of, within
from modeldist.tracing.redaction import shown
from modeldist.tracing.spans import NO_SPAN, Span, active, begin, span

__all__ = [
    "NO_SPAN",
    "Span",
    "active",
    "begin",
    "current",
    "headers",
    "shown",
    "span",
    "trace_id_of",
    "within",
]
